"""Finished runs, shown: what their stages say of themselves, and the pages that these left."""

"""Is a caption true, does it give the diagnosis away, does it say anything: measured, and shown to experts."""

"""Draw synthetic images: a balanced plan, provenance for every row, a gate against copies."""

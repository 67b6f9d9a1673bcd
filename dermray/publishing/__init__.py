"""A result as other tools open it: Hugging Face `datasets`, webdataset, Croissant, and a card of what it is."""

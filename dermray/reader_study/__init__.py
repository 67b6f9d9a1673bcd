"""The blinded study of paper 000: readers name the entity of images, and say which of them are AI's."""

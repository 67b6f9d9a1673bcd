"""Drawing in a replica: a thread that draws in steps, what is written into images, where they are kept."""

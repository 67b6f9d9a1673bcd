"""Question-answer pairs about images, written by a vision-language model: DermaSynth (paper 003)."""

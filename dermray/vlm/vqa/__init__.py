"""Questions about images, asked of vision-language models; their answers, scored."""

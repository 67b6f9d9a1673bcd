"""From captioned rows to a trained generator, over Ray."""

"""From a source's words to entity and malignancy: a reviewed table per published source, rules for everybody else's."""

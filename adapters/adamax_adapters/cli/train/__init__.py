"""The command `adamax train`: a neural language model, trained with Adamax on real text."""

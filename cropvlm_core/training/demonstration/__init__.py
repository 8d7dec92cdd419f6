"""Learning without box labels, shown small: cards, and the frozen reader that rewards."""

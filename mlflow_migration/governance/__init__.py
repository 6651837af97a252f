"""Looking at what servers hold: where a model comes from, what breaks the rules, how much there is."""

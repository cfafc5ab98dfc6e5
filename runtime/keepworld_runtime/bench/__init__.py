"""How fast a learned family is on this machine, stage by stage, with random weights."""

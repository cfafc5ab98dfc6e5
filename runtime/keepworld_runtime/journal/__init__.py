"""What has happened in every world, kept: chunks as a tree, and the sessions, lines and snapshots that point into it."""

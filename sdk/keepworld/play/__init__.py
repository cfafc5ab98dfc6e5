"""The browser studio: ``keepworld play`` and ``keepworld view``. Needs the extra `play`."""

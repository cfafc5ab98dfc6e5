"""WorldPlay-8B (HY-World 1.5 on HunyuanVideo-1.5)."""

from keepworld_runtime.families.family import Family, FamilyOptions


def family(options: FamilyOptions) -> Family:
    """Make the family for the checkpoint that the options name; see `make_family`."""
    from keepworld_runtime.families.worldplay_8b.offer import make_family

    return make_family(options)

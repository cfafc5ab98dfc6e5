"""WorldPlay-5B (HY-World 1.5 on Wan2.2-TI2V-5B)."""

from keepworld_runtime.families.family import Family, FamilyOptions


def family(options: FamilyOptions) -> Family:
    """Make the family for the checkpoint that the options name; see `make_family`."""
    from keepworld_runtime.families.worldplay_5b.offer import make_family

    return make_family(options)

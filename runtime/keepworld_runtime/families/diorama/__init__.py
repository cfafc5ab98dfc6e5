"""The diorama: a procedural low-poly world from words and a seed, ray-cast on the CPU."""

from keepworld_runtime.families.diorama.family import DioramaFamily
from keepworld_runtime.families.family import Family, FamilyOptions


def family(options: FamilyOptions) -> Family:
    """Make the family.

    Raises:
        ValueError: an option is given: it has no weights, and draws on the CPU.
    """
    if options.given:
        raise ValueError(f"the diorama has no weights and draws on the CPU: it takes no {', no '.join(options.given)}")
    return DioramaFamily()

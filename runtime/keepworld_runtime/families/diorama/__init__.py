"""The diorama: a procedural low-poly world from words and a seed, ray-cast on the CPU."""

from keepworld_runtime.families.diorama.family import DioramaFamily
from keepworld_runtime.families.family import Family

FAMILY: Family = DioramaFamily()

"""Variant families: specifications as data, and the Keras models built from them."""

from variant_parallelism.families.catalog import FAMILIES, get_family
from variant_parallelism.families.spec import Family, Recipe, Stage, VariantSpec

__all__ = ["FAMILIES", "Family", "Recipe", "Stage", "VariantSpec", "get_family"]

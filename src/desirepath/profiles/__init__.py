# SPDX-License-Identifier: Apache-2.0
"""Who people are: segments, and the portrait of one user or item."""

from desirepath.profiles.classes import ClassConfig, class_sizes, classify, user_classes
from desirepath.profiles.item_portrait import ItemPortrait, item_portrait
from desirepath.profiles.movement import moves, track
from desirepath.profiles.partition import PartitionConfig
from desirepath.profiles.portrait import PortraitConfig, Sources, UserPortrait, user_portrait
from desirepath.profiles.segments import SegmentConfig, Segments, segment
from desirepath.profiles.space import SpaceConfig
from desirepath.profiles.vectors import Beside, UserMatrix, UserVectors, VectorConfig, user_vectors

__all__ = [
    "Beside",
    "ClassConfig",
    "ItemPortrait",
    "PartitionConfig",
    "PortraitConfig",
    "SegmentConfig",
    "Segments",
    "Sources",
    "SpaceConfig",
    "UserMatrix",
    "UserPortrait",
    "UserVectors",
    "VectorConfig",
    "class_sizes",
    "classify",
    "item_portrait",
    "moves",
    "segment",
    "track",
    "user_classes",
    "user_portrait",
    "user_vectors",
]

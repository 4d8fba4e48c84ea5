"""The joint models of the first version, under the name callers have used from the start."""

from prometheus.encoders.joint.simple import IdentityNumericJointModel, SimpleAverageJointModel

__all__ = ["IdentityNumericJointModel", "SimpleAverageJointModel"]

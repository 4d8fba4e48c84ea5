"""The joint models of the first version, under the name callers have used from the start."""

from prometheus.encoders.joint.models import IdentityNumericJointModel, SimpleAverageJointModel

__all__ = ["IdentityNumericJointModel", "SimpleAverageJointModel"]

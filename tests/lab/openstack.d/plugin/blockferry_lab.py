# SPDX-License-Identifier: Apache-2.0
"""A mechanism driver of Neutron's ML2 that binds every port to a Linux bridge, without an agent."""
from neutron_lib.plugins.ml2 import api


class LabDriver(api.MechanismDriver):
    @property
    def connectivity(self):
        return "l2"

    def initialize(self):
        pass

    def bind_port(self, context):
        for segment in context.segments_to_bind:
            context.set_binding(segment[api.ID], "bridge", {"port_filter": False}, "ACTIVE")
            return

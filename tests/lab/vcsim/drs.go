// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// What vSphere moves about by itself; the simulator keeps the settings and moves nothing.

// The cluster of the machine's host; nil: the host is in none.
func (w *world) clusterOf(m *machine) *types.ClusterConfigInfoEx {
	host := simulator.Map.Get(*w.object(m).Runtime.Host).(*simulator.HostSystem)
	cluster, ok := simulator.Map.Get(*host.Parent).(*simulator.ClusterComputeResource)
	if !ok {
		return nil
	}
	return cluster.ConfigurationEx.(*types.ClusterConfigInfoEx)
}

func (w *world) setDRS(m *machine, path string, text string, flag bool) error {
	config := w.clusterOf(m)
	if config == nil {
		return fmt.Errorf("%s is in no cluster", m.name)
	}
	yes, no := true, false
	switch path {
	case "drs": // of the cluster; "": off
		config.DrsConfig.Enabled = &yes
		if text == "" {
			config.DrsConfig.Enabled = &no
		}
		config.DrsConfig.DefaultVmBehavior = types.DrsBehavior(text)
	case "drs_override": // of the machine; "": none, "disabled"
		config.DrsVmConfig = nil
		if text == "disabled" {
			config.DrsVmConfig = []types.ClusterDrsVmConfigInfo{{Key: m.ref, Enabled: &no}}
		} else if text != "" {
			config.DrsVmConfig = []types.ClusterDrsVmConfigInfo{
				{Key: m.ref, Enabled: &yes, Behavior: types.DrsBehavior(text)}}
		}
	case "drs_rule": // it must run on its host
		config.Group, config.Rule = nil, nil
		if flag {
			vms := &types.ClusterVmGroup{Vm: []types.ManagedObjectReference{m.ref}}
			vms.Name = "movers"
			hosts := &types.ClusterHostGroup{Host: []types.ManagedObjectReference{*w.object(m).Runtime.Host}}
			hosts.Name = "its host"
			rule := &types.ClusterVmHostRuleInfo{VmGroupName: vms.Name, AffineHostGroupName: hosts.Name}
			rule.Enabled, rule.Mandatory = &yes, &yes
			config.Group = []types.BaseClusterGroupInfo{vms, hosts}
			config.Rule = []types.BaseClusterRuleInfo{rule}
		}
	}
	return nil
}

// Its datastores are in a datastore cluster of this behavior; "": in none.
func (w *world) setStorageDRS(m *machine, behavior string) {
	for _, ref := range w.object(m).Datastore {
		ds := simulator.Map.Get(ref).(*simulator.Datastore)
		if pod, ok := simulator.Map.Get(*ds.Parent).(*simulator.StoragePod); ok {
			ds.Parent = pod.Parent
			simulator.Map.Remove(pod.Self)
		}
		if behavior == "" {
			continue
		}
		pod := &simulator.StoragePod{}
		pod.Name = "pod"
		pod.Parent = ds.Parent
		pod.PodStorageDrsEntry = new(types.PodStorageDrsEntry)
		pod.PodStorageDrsEntry.StorageDrsConfig.PodConfig.Enabled = true
		pod.PodStorageDrsEntry.StorageDrsConfig.PodConfig.DefaultVmBehavior = behavior
		simulator.Map.Put(pod)
		ds.Parent = &pod.Self
	}
}

// Of the machine, in the datastore cluster that it is in now.
func (w *world) setStorageOverride(m *machine, behavior string) error {
	for _, ref := range w.object(m).Datastore {
		ds := simulator.Map.Get(ref).(*simulator.Datastore)
		if pod, ok := simulator.Map.Get(*ds.Parent).(*simulator.StoragePod); ok {
			config := &pod.PodStorageDrsEntry.StorageDrsConfig
			config.VmConfig = []types.StorageDrsVmConfigInfo{{Vm: &m.ref, Behavior: behavior}}
			return nil
		}
	}
	return fmt.Errorf("%s is in no datastore cluster", m.name)
}

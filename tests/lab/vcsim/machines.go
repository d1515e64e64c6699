// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const datastore = "LocalDS_0"

// A machine whose disks have bytes.
type machine struct {
	name               string
	ref                types.ManagedObjectReference
	disks              []*disk
	late               bool   // change tracking begins with the second snapshot only
	guest              string // a mover's sys and dev; "": not a mover
	locked             bool   // its snapshots' files cannot be attached elsewhere
	swap               string // of a mover: the image of the next disk, another one than it says
	otherUUID, otherID bool   // of a mover: the next disk's are others
}

func (w *world) object(m *machine) *simulator.VirtualMachine {
	return simulator.Map.Get(m.ref).(*simulator.VirtualMachine)
}

func (w *world) machineByRef(ref types.ManagedObjectReference) *machine {
	for _, m := range w.machines {
		if m.ref == ref {
			return m
		}
	}
	return nil
}

func (w *world) machineByName(name string) *machine {
	for _, m := range w.machines {
		if m.name == name {
			return m
		}
	}
	return nil
}

func (w *world) createMachines(list []machineConfig) error {
	ctx := context.Background()
	client, err := govmomi.NewClient(ctx, w.url, true)
	if err != nil {
		return err
	}
	defer client.Logout(ctx)
	for i := range list {
		if err := w.createMachine(ctx, client, &list[i]); err != nil {
			return fmt.Errorf("machine %s: %v", list[i].Name, err)
		}
	}
	return nil
}

func machineSpec(c *machineConfig) (types.VirtualMachineConfigSpec, error) {
	var devices object.VirtualDeviceList
	spec := types.VirtualMachineConfigSpec{
		Name:     c.Name,
		GuestId:  "debian11_64Guest",
		NumCPUs:  c.CPUs,
		MemoryMB: c.MemoryMB,
		Firmware: c.Firmware,
		Files:    &types.VirtualMachineFileInfo{VmPathName: "[" + datastore + "]"},
	}
	scsi, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		return spec, err
	}
	devices = append(devices, scsi)
	for i := range c.Disks {
		file := fmt.Sprintf("[%s] %s/disk%d.vmdk", datastore, c.Name, i+1)
		d := devices.CreateDisk(scsi.(types.BaseVirtualController),
			types.ManagedObjectReference{}, file)
		d.CapacityInKB = 1024
		devices = append(devices, d)
	}
	for bus := 1; c.Guest != "" && bus < 4; bus++ {
		more, err := devices.CreateSCSIController("pvscsi")
		if err != nil {
			return spec, err
		}
		devices = append(devices, more)
	}
	nic, err := devices.CreateEthernetCard("vmxnet3",
		&types.VirtualEthernetCardNetworkBackingInfo{
			VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{
				DeviceName: "VM Network"}})
	if err != nil {
		return spec, err
	}
	devices = append(devices, nic)
	spec.DeviceChange, err = devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	return spec, err
}

func (w *world) createMachine(ctx context.Context, client *govmomi.Client, c *machineConfig) error {
	finder := find.NewFinder(client.Client, false)
	dc, err := finder.DefaultDatacenter(ctx)
	if err != nil {
		return err
	}
	finder.SetDatacenter(dc)
	folders, err := dc.Folders(ctx)
	if err != nil {
		return err
	}
	hosts, err := finder.HostSystemList(ctx, "*")
	if err != nil {
		return err
	}
	host := hosts[c.Host%len(hosts)]
	pool, err := host.ResourcePool(ctx)
	if err != nil {
		return err
	}
	spec, err := machineSpec(c)
	if err != nil {
		return err
	}
	task, err := folders.VmFolder.CreateVM(ctx, spec, pool, host)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return err
	}
	m := &machine{name: c.Name, guest: c.Guest, ref: info.Result.(types.ManagedObjectReference)}
	if err := w.dress(m, c); err != nil {
		return err
	}
	if !c.Off {
		task, err = object.NewVirtualMachine(client.Client, m.ref).PowerOn(ctx)
		if err == nil {
			err = task.Wait(ctx)
		}
	}
	return err
}

// Give it what a real machine has and the simulator leaves out.
func (w *world) dress(m *machine, c *machineConfig) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	vm := w.object(m)
	yes, no := true, false
	vm.Capability.ChangeTrackingSupported = &yes
	vm.Config.ChangeTrackingEnabled = &no
	vm.Config.Version = "vmx-19"
	vm.Runtime.ConsolidationNeeded = &no
	vm.Guest.ToolsRunningStatus = "guestToolsRunning"
	vm.Guest.ToolsVersionStatus2 = "guestToolsCurrent"
	if c.Guest != "" {
		vm.Config.ExtraConfig = append(vm.Config.ExtraConfig,
			&types.OptionValue{Key: "disk.EnableUUID", Value: "TRUE"})
	}
	n := 0
	for _, device := range vm.Config.Hardware.Device {
		d, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		raw := c.Disks[n].Raw
		stat, err := os.Stat(raw)
		if err != nil {
			return err
		}
		d.Key = int32(2000 + n)
		setCapacity(d, stat.Size())
		b := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		b.Uuid = newDiskUUID()
		b.ContentId = randomHex(16)
		b.ThinProvisioned = &yes
		b.Sharing = "sharingNone"
		m.disks = append(m.disks, &disk{key: d.Key, raw: raw, name: frozenName(b.FileName)})
		n++
	}
	w.machines = append(w.machines, m)
	return nil
}

func setCapacity(d *types.VirtualDisk, size int64) {
	d.CapacityInBytes = size
	d.CapacityInKB = size / 1024
}

// "[LocalDS_0] web1/disk1.vmdk" is kept as "web1_disk1.vmdk.raw".
func frozenName(file string) string {
	if i := strings.Index(file, "] "); i >= 0 {
		file = file[i+2:]
	}
	return strings.ReplaceAll(path.Clean(file), "/", "_") + ".raw"
}

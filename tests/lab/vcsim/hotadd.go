// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A file of another machine that hangs on a mover: the guest sees it as a disk.
type hotAdded struct {
	mover *machine
	owner *machine
	file  string
	image string
	uuid  string
	name  string // "sdb" of the guest
	id    string // contentId
}

// What is behind a datastore path.
type image struct {
	owner  *machine
	frozen *frozen // of a snapshot; nil: what the machine writes now
	clone  *cloneDisk
}

func (w *world) imageAt(file string) *image {
	for _, s := range w.snapshots {
		for _, f := range s.disks {
			if f.file == file {
				return &image{owner: s.machine, frozen: f}
			}
		}
	}
	for _, c := range w.clones {
		if d := c.disks[file]; d != nil {
			return &image{owner: c.source, clone: d}
		}
	}
	for _, m := range w.machines {
		for _, device := range w.object(m).Config.Hardware.Device {
			d, ok := device.(*types.VirtualDisk)
			if ok && m.disk(d.Key) != nil && fileOf(d) == file {
				return &image{owner: m}
			}
		}
	}
	return nil
}

func fileOf(d *types.VirtualDisk) string {
	if b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		return b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

// Before the simulator carries a reconfiguration out: what a host would refuse.  The simulator
// itself checks neither locks nor slots.
func (w *world) refuse(req *types.ReconfigVM_Task) types.BaseMethodFault {
	for i, change := range req.Spec.DeviceChange {
		spec := change.GetVirtualDeviceConfigSpec()
		d, ok := spec.Device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		if spec.Operation == types.VirtualDeviceConfigSpecOperationRemove {
			if spec.FileOperation != "" { // it would delete the file: a guard, not a host's manner
				w.misuses = append(w.misuses, "fileOperation on remove")
				return &types.InvalidArgument{InvalidProperty: "fileOperation"}
			}
			continue
		}
		if spec.Operation != types.VirtualDeviceConfigSpecOperationAdd || spec.FileOperation != "" {
			continue
		}
		if !w.slotIsFree(req.This, d) {
			return &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
		}
		if fault := w.refuseFile(d); fault != nil {
			return fault
		}
	}
	return nil
}

func (w *world) slotIsFree(ref types.ManagedObjectReference, d *types.VirtualDisk) bool {
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok || d.UnitNumber == nil || *d.UnitNumber < 0 || *d.UnitNumber > 15 || *d.UnitNumber == 7 {
		return false
	}
	found := false
	for _, device := range vm.Config.Hardware.Device {
		v := device.GetVirtualDevice()
		if _, ok := device.(types.BaseVirtualSCSIController); ok && v.Key == d.ControllerKey {
			found = true
		}
		if v.ControllerKey == d.ControllerKey && v.UnitNumber != nil && *v.UnitNumber == *d.UnitNumber {
			return false
		}
	}
	return found
}

func (w *world) refuseFile(d *types.VirtualDisk) types.BaseMethodFault {
	file := fileOf(d)
	b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	locked := &types.FileLocked{FileFault: types.FileFault{File: file}}
	at := w.imageAt(file)
	if at == nil || !ok {
		return &types.FileNotFound{FileFault: types.FileFault{File: file}}
	}
	// What a running machine writes is its own alone, and so is what would be written here.
	if b.DiskMode != string(types.VirtualDiskModeIndependent_nonpersistent) ||
		at.frozen == nil && at.clone == nil ||
		at.frozen != nil && at.owner.locked {
		return locked
	}
	return nil
}

// After the simulator has carried it out.
func (w *world) hotAdd(req *types.ReconfigVM_Task) {
	vm, ok := simulator.Map.Get(req.This).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	tidyExtraConfig(vm)
	m := w.machineByRef(req.This)
	if m == nil || m.guest == "" {
		return
	}
	if req.Spec.ChangeTrackingEnabled != nil {
		w.misuses = append(w.misuses, "change tracking on a mover")
	}
	listed := map[string]bool{}
	for _, device := range vm.Config.Hardware.Device {
		d, ok := device.(*types.VirtualDisk)
		if !ok || m.disk(d.Key) != nil {
			continue
		}
		key := fmt.Sprintf("%s %d", m.ref.Value, d.Key)
		listed[key] = true
		if w.added[key] == nil {
			w.plug(m, d, key)
		}
	}
	for key, a := range w.added {
		if a.mover == m && !listed[key] {
			w.unplug(key)
		}
	}
}

// As keys are replaced and empty values remove them; the simulator only appends.
func tidyExtraConfig(vm *simulator.VirtualMachine) {
	last := map[string]types.BaseOptionValue{}
	var order []string
	for _, o := range vm.Config.ExtraConfig {
		v := o.GetOptionValue()
		if last[v.Key] == nil {
			order = append(order, v.Key)
		}
		last[v.Key] = o
	}
	var kept []types.BaseOptionValue
	for _, key := range order {
		if last[key].GetOptionValue().Value != "" {
			kept = append(kept, last[key])
		}
	}
	vm.Config.ExtraConfig = kept
}

func (w *world) plug(m *machine, d *types.VirtualDisk, key string) {
	at := w.imageAt(fileOf(d))
	b := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	a := &hotAdded{mover: m, owner: at.owner, file: fileOf(d)}
	if at.clone != nil {
		a.image, a.uuid, a.id = at.clone.frozen.path, at.clone.uuid, at.clone.id
		b.Parent = at.clone.parent
	} else {
		a.image, a.uuid, a.id = at.frozen.path, at.frozen.uuid, at.frozen.id
	}
	if m.swap != "" { // the next one is another disk than it should be
		a.image, m.swap = m.swap, ""
	}
	if m.otherUUID {
		a.uuid, m.otherUUID = newDiskUUID(), false
	}
	if m.otherID {
		a.id, m.otherID = randomHex(16), false
	}
	b.Uuid, b.ContentId = a.uuid, a.id
	if stat, err := os.Stat(a.image); err == nil {
		setCapacity(d, stat.Size())
	}
	for n := 0; ; n++ { // a name that is not in use
		a.name = "sd" + string(rune('b'+n))
		if _, err := os.Stat(filepath.Join(m.guest, "sys/block", a.name)); err != nil {
			break
		}
	}
	directory := filepath.Join(m.guest, "sys/block", a.name, "device")
	digits := strings.ToLower(strings.ReplaceAll(a.uuid, "-", ""))
	page, _ := hex.DecodeString(digits)
	serial := append([]byte{0, 0x80, 0, byte(len(page) * 2)}, digits...)
	os.MkdirAll(filepath.Join(m.guest, "dev"), 0700)
	os.MkdirAll(directory, 0700)
	os.Symlink(a.image, filepath.Join(m.guest, "dev", a.name))
	os.WriteFile(filepath.Join(directory, "vpd_pg80"), serial, 0600)
	os.WriteFile(filepath.Join(directory, "wwid"), []byte("naa."+digits+"\n"), 0600)
	w.added[key] = a
}

func (w *world) unplug(key string) {
	a := w.added[key]
	os.RemoveAll(filepath.Join(a.mover.guest, "sys/block", a.name))
	os.Remove(filepath.Join(a.mover.guest, "dev", a.name))
	delete(w.added, key)
}

// A machine is destroyed with all files of its disks, whosever they are.
func (w *world) destroy(ref types.ManagedObjectReference) {
	for key, a := range w.added {
		if a.mover.ref == ref {
			w.lost = append(w.lost, a.file)
			os.Remove(a.image)
			w.unplug(key)
		}
	}
	for i, m := range w.machines {
		if m.ref == ref {
			w.machines = append(w.machines[:i:i], w.machines[i+1:]...)
			break
		}
	}
	if c := w.clones[ref.Value]; c != nil {
		for _, a := range w.added {
			if c.disks[a.file] != nil {
				w.lost = append(w.lost, a.file)
			}
		}
		delete(w.clones, ref.Value)
	}
}

// A snapshot that goes while its files are attached cannot be merged.
func (w *world) mergeFails(state *snapshotState) {
	for _, a := range w.added {
		if a.owner == state.machine {
			yes := true
			w.object(state.machine).Runtime.ConsolidationNeeded = &yes
			w.misuses = append(w.misuses, "snapshot removed while attached")
			return
		}
	}
}

// Somebody attaches a file, without a note.
func (w *world) attachByHand(m *machine, file string) {
	vm := w.object(m)
	unit := int32(0)
	d := &types.VirtualDisk{}
	for _, device := range vm.Config.Hardware.Device {
		if c, ok := device.(*types.ParaVirtualSCSIController); ok && c.BusNumber == 1 {
			d.ControllerKey = c.Key
		}
	}
	d.Key = 4000
	d.UnitNumber = &unit
	d.Backing = &types.VirtualDiskFlatVer2BackingInfo{
		DiskMode:                     string(types.VirtualDiskModeIndependent_nonpersistent),
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}}
	vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, d)
	w.plug(m, d, fmt.Sprintf("%s %d", m.ref.Value, d.Key))
}

func (w *world) detachByHand(m *machine) {
	vm := w.object(m)
	var kept []types.BaseVirtualDevice
	for _, device := range vm.Config.Hardware.Device {
		key := fmt.Sprintf("%s %d", m.ref.Value, device.GetVirtualDevice().Key)
		if w.added[key] == nil {
			kept = append(kept, device)
		} else {
			w.unplug(key)
		}
	}
	vm.Config.Hardware.Device = kept
}

// A disk that is not a clone's own hangs on it.
func (w *world) addToClones(file string) {
	for ref := range w.clones {
		vm := simulator.Map.Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: ref}).(*simulator.VirtualMachine)
		var kept []types.BaseVirtualDevice
		for _, device := range vm.Config.Hardware.Device {
			if device.GetVirtualDevice().Key != 5000 {
				kept = append(kept, device)
			}
		}
		if file != "" {
			d := &types.VirtualDisk{}
			d.Key = 5000
			d.Backing = &types.VirtualDiskFlatVer2BackingInfo{
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}}
			kept = append(kept, d)
		}
		vm.Config.Hardware.Device = kept
	}
}

func (w *world) attachments() []map[string]string {
	list := []map[string]string{}
	for _, a := range w.added {
		list = append(list, map[string]string{"file": a.file, "image": a.image, "uuid": a.uuid,
			"disk": a.name, "mover": a.mover.name})
	}
	return list
}

// --- linked clones ---

type cloneDisk struct {
	frozen *frozen
	uuid   string
	id     string
	parent *types.VirtualDiskFlatVer2BackingInfo
}

type clone struct {
	source *machine
	disks  map[string]*cloneDisk // by file
}

// The simulator's own clone has empty disks, and spoils its source's.
func (w *world) cloneMachine(answer *httptest.ResponseRecorder, in *http.Request,
	method *simulator.Method, req *types.CloneVM_Task) {
	source := w.machineByRef(req.This)
	var state *snapshotState
	if req.Spec.Snapshot != nil {
		state = w.snapshots[req.Spec.Snapshot.Value]
	}
	move := req.Spec.Location.DiskMoveType
	if source == nil || state == nil || state.machine != source ||
		move != string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking) {
		w.failedTask(answer, method, &types.InvalidArgument{InvalidProperty: "spec.snapshot"})
		return
	}
	for _, child := range simulator.Map.Get(req.Folder).(*simulator.Folder).ChildEntity {
		if vm, ok := simulator.Map.Get(child).(*simulator.VirtualMachine); ok && vm.Name == req.Name {
			w.failedTask(answer, method, &types.DuplicateName{Name: req.Name, Object: child})
			return
		}
	}
	vm := w.object(source)
	spec, err := machineSpec(&machineConfig{Name: req.Name, CPUs: 1, MemoryMB: 128, Firmware: "bios",
		Disks: make([]diskConfig, len(source.disks))})
	if err != nil {
		w.failedTask(answer, method, &types.RuntimeFault{})
		return
	}
	if len(req.Spec.Config.DeviceChange) > 0 { // the one nic
		spec.DeviceChange = spec.DeviceChange[:len(spec.DeviceChange)-1]
	}
	body := httptest.NewRecorder()
	write(body, http.StatusOK, &content{name: urn("CreateVM_Task"), value: &types.CreateVM_Task{
		This: req.Folder, Config: spec, Pool: *vm.ResourcePool, Host: vm.Runtime.Host}})
	made := httptest.NewRecorder()
	w.service.ServeSDK(made, w.request(in, body.Body.Bytes()))
	found := taskRef.FindStringSubmatch(made.Body.String())
	if made.Code != http.StatusOK || found == nil {
		answer.Code = made.Code
		answer.Body = made.Body
		return
	}
	ref := types.ManagedObjectReference{Type: "Task", Value: found[1]}
	task := simulator.Map.Get(ref).(*simulator.Task)
	if result, ok := task.Info.Result.(types.ManagedObjectReference); ok {
		w.linkClone(result, source, state)
	}
	writeResponse(answer, "CloneVM_TaskResponse", &types.CloneVM_TaskResponse{Returnval: ref})
}

func (w *world) linkClone(ref types.ManagedObjectReference, source *machine, state *snapshotState) {
	c := &clone{source: source, disks: map[string]*cloneDisk{}}
	n := 0
	vm := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	for _, device := range object.VirtualDeviceList(vm.Config.Hardware.Device) {
		d, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		f := state.disks[source.disks[n].key]
		d.Key = source.disks[n].key
		n++
		if f == nil {
			continue
		}
		b := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		b.Uuid, b.ContentId = newDiskUUID(), randomHex(16)
		b.Parent = &types.VirtualDiskFlatVer2BackingInfo{Uuid: f.uuid, ContentId: f.id,
			DiskMode:                     string(types.VirtualDiskModePersistent),
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: f.file}}
		setCapacity(d, f.size)
		c.disks[b.FileName] = &cloneDisk{frozen: f, uuid: b.Uuid, id: b.ContentId, parent: b.Parent}
	}
	w.clones[ref.Value] = c
}

// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// What is to go wrong with a method's next calls.
type trouble struct {
	Method string `json:"method"`
	// "soap": a fault in the answer; "task": the task ends with it; "hang": the task never ends, unless
	// it is cancelled; "stuck": it does nothing until it is let go, and cannot be cancelled;
	// "question": it waits for one; "status": an HTTP status; "drop": the connection is cut;
	// "slow": the answer comes late; "ignored": the answer is yes, and nothing is done (no task)
	Kind   string `json:"kind"`
	Fault  string `json:"fault"` // type, for soap and task
	Status int    `json:"status"`
	MS     int    `json:"ms"`
	After  int    `json:"after"` // so many calls are good before
	Times  int    `json:"times"` // 0: once
}

func (w *world) trouble(method string) *trouble {
	for i, t := range w.troubles {
		if t.Method != method {
			continue
		}
		if t.After > 0 {
			t.After--
			return nil
		}
		found := *t
		if t.Times--; t.Times <= 0 {
			w.troubles = append(w.troubles[:i], w.troubles[i+1:]...)
		}
		return &found
	}
	return nil
}

func faultOf(name string) types.BaseMethodFault {
	if t, ok := types.TypeFunc()(name); ok {
		f := reflect.New(t).Interface()
		if busy, ok := f.(*types.TaskInProgress); ok {
			busy.Task = types.ManagedObjectReference{Type: "Task", Value: "task-1"}
		}
		if gone, ok := f.(*types.ManagedObjectNotFound); ok {
			gone.Obj = types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-1"}
		}
		if f, ok := f.(types.BaseMethodFault); ok {
			return f
		}
	}
	return &types.RuntimeFault{}
}

// One order of a test; members that are there are carried out.
type order struct {
	Trouble     *trouble               `json:"trouble"`
	NoTrouble   bool                   `json:"no_trouble"`   // forget what is left of it
	LetGo       bool                   `json:"let_go"`       // stuck tasks do what they should
	TaskMS      *int                   `json:"task_ms"`      // how long tasks run
	PageAreas   int                    `json:"page_areas"`   // areas in one reply
	PageSpan    int64                  `json:"page_span"`    // bytes of the disk that one reply covers
	Deny        []string               `json:"deny"`         // privileges the account lacks
	DenyOn      map[string][]string    `json:"deny_on"`      // by moref: privileges it lacks there
	KillSession bool                   `json:"kill_session"` // of everybody
	Machine     string                 `json:"machine"`      // for what follows
	ResetCBT    bool                   `json:"reset_cbt"`
	LateCBT     bool                   `json:"late_cbt"`
	Lie         *bool                  `json:"lie"`
	Resize      bool                   `json:"resize"` // disks are as large as their files now
	NewUUID     bool                   `json:"new_uuid"`
	Foreign     int                    `json:"foreign_snapshots"` // somebody makes so many
	Vanish      bool                   `json:"vanish"`            // its snapshots are removed by somebody
	Locked      *bool                  `json:"locked"`            // its snapshots' files cannot be attached
	Swap        string                 `json:"swap"`              // of a mover: the next disk is this image
	OtherUUID   bool                   `json:"other_uuid"`        // of a mover: of the next disk
	OtherID     bool                   `json:"other_content_id"`
	Attach      string                 `json:"attach"`     // of a mover: somebody attaches this file
	Detach      bool                   `json:"detach"`     // of a mover: everything
	CloneFile   *string                `json:"clone_file"` // what clones have besides; "": nothing any more
	Set         map[string]interface{} `json:"set"`
}

func (w *world) serveControl(out http.ResponseWriter, in *http.Request) {
	var o order
	defer endByPanic()
	if in.Header.Get("X-Lab") != w.token {
		http.Error(out, "who are you", http.StatusForbidden)
		return
	}
	if err := json.NewDecoder(in.Body).Decode(&o); err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	err := w.obey(&o)
	state := map[string]interface{}{"calls": w.calls, "snapshots": len(w.snapshots),
		"machines": w.morefs(), "leases": len(w.leases), "snapshot_names": w.snapshotNames(),
		"attached": w.attachments(), "clones": len(w.clones), "lost": w.lost, "misuses": w.misuses,
		"folder": w.folder()}
	text, _ := json.Marshal(state)
	w.mu.Unlock()
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	out.Write(text)
}

func (w *world) morefs() map[string]string {
	refs := map[string]string{}
	for _, m := range w.machines {
		refs[m.name] = m.ref.Value
	}
	return refs
}

// The folder of the machines.
func (w *world) folder() string {
	for _, m := range w.machines {
		if parent := w.object(m).Parent; parent != nil {
			return parent.Value
		}
	}
	return ""
}

func (w *world) snapshotNames() []string {
	names := []string{}
	var walk func(list []types.VirtualMachineSnapshotTree)
	walk = func(list []types.VirtualMachineSnapshotTree) {
		for _, s := range list {
			names = append(names, s.Name)
			walk(s.ChildSnapshotList)
		}
	}
	for _, m := range w.machines {
		if s := w.object(m).Snapshot; s != nil {
			walk(s.RootSnapshotList)
		}
	}
	return names
}

func (w *world) obey(o *order) error {
	if o.NoTrouble {
		w.troubles = nil
	}
	if o.Trouble != nil {
		w.troubles = append(w.troubles, o.Trouble)
	}
	if o.LetGo {
		w.letGo()
	}
	if o.TaskMS != nil {
		w.taskTime = time.Duration(*o.TaskMS) * time.Millisecond
	}
	if o.PageAreas > 0 {
		w.pageAreas = o.PageAreas
	}
	if o.PageSpan > 0 {
		w.span = o.PageSpan
	}
	if o.Deny != nil {
		w.denied = map[string]bool{}
		for _, p := range o.Deny {
			w.denied[p] = true
		}
	}
	if o.CloneFile != nil {
		w.addToClones(*o.CloneFile)
	}
	if o.DenyOn != nil {
		w.deniedOn = o.DenyOn
	}
	if o.KillSession {
		w.killed++
	}
	if o.Machine == "" {
		return nil
	}
	m := w.machineByName(o.Machine)
	if m == nil {
		return fmt.Errorf("no machine %s", o.Machine)
	}
	return w.obeyMachine(o, m)
}

func (w *world) obeyMachine(o *order, m *machine) error {
	if o.ResetCBT {
		m.resetTracking()
	}
	if o.LateCBT {
		m.late = true
	}
	if o.Lie != nil {
		for _, d := range m.disks {
			d.lie = *o.Lie
		}
	}
	if o.Locked != nil {
		m.locked = *o.Locked
	}
	if o.Swap != "" {
		m.swap = o.Swap
	}
	m.otherUUID = m.otherUUID || o.OtherUUID
	m.otherID = m.otherID || o.OtherID
	if o.Attach != "" {
		w.attachByHand(m, o.Attach)
	}
	if o.Detach {
		w.detachByHand(m)
	}
	if o.Vanish {
		w.vanish(m)
	}
	for i := 0; i < o.Foreign; i++ {
		w.foreign++
		w.object(m).CreateSnapshotTask(&types.CreateSnapshot_Task{This: m.ref,
			Name: fmt.Sprintf("by hand %d", w.foreign)})
	}
	for _, device := range w.object(m).Config.Hardware.Device {
		v, ok := device.(*types.VirtualDisk)
		if !ok || m.disk(v.Key) == nil {
			continue
		}
		if o.NewUUID {
			v.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid = newDiskUUID()
		}
		if o.Resize {
			stat, err := os.Stat(m.disk(v.Key).raw)
			if err != nil {
				return err
			}
			setCapacity(v, stat.Size())
		}
	}
	for path, value := range o.Set {
		if err := w.set(m, path, value); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) vanish(m *machine) {
	vm := w.object(m)
	for name, state := range w.snapshots {
		if state.machine == m {
			ref := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: name}
			w.thaw(ref)
			simulator.Map.Remove(ref)
		}
	}
	simulator.Map.Update(vm, []types.PropertyChange{{Name: "snapshot", Val: nil}})
}

// What tests of the prechecks change of a machine; "disk." is its first disk.
func (w *world) set(m *machine, path string, value interface{}) error {
	vm := w.object(m)
	text, _ := value.(string)
	flag, _ := value.(bool)
	var backing *types.VirtualDiskFlatVer2BackingInfo
	var first *types.VirtualDisk
	for _, device := range vm.Config.Hardware.Device {
		if d, ok := device.(*types.VirtualDisk); ok && first == nil {
			first = d
		}
	}
	if first != nil {
		backing, _ = first.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	}
	devices := &vm.Config.Hardware.Device
	switch path {
	case "disk.file":
		backing.FileName = text
	case "disk.mode":
		backing.DiskMode = text
	case "disk.sharing":
		backing.Sharing = text
	case "disk.key_id":
		backing.KeyId = &types.CryptoKeyId{KeyId: text}
	case "disk.parent":
		backing.Parent = &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: text}}
	case "disk.uuid":
		backing.Uuid = text
	case "disk.size":
		setCapacity(first, int64(value.(float64)))
	case "disk.nvme":
		c := &types.VirtualNVMEController{}
		c.Key = 31000
		first.ControllerKey = c.Key
		*devices = append(*devices, c)
	case "disk.twin":
		for _, device := range *devices {
			if d, ok := device.(*types.VirtualDisk); ok {
				d.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid = backing.Uuid
			}
		}
	case "no_disks":
		var kept []types.BaseVirtualDevice
		for _, device := range *devices {
			if _, ok := device.(*types.VirtualDisk); !ok {
				kept = append(kept, device)
			}
		}
		*devices = kept
	case "name":
		vm.Name = text
	case "disk.rdm":
		first.Backing = &types.VirtualDiskRawDiskMappingVer1BackingInfo{CompatibilityMode: text,
			VirtualDeviceFileBackingInfo: backing.VirtualDeviceFileBackingInfo, Uuid: backing.Uuid}
	case "bus.sharing":
		for _, device := range *devices {
			if c, ok := device.(types.BaseVirtualSCSIController); ok {
				c.GetVirtualSCSIController().SharedBus = types.VirtualSCSISharing(text)
			}
		}
	case "version":
		vm.Config.Version = text
	case "template":
		vm.Config.Template = flag
	case "consolidation":
		vm.Runtime.ConsolidationNeeded = &flag
	case "cbt_supported":
		vm.Capability.ChangeTrackingSupported = &flag
	case "cbt":
		vm.Config.ChangeTrackingEnabled = &flag
	case "tools":
		vm.Guest.ToolsRunningStatus = text
	case "key_id":
		vm.Config.KeyId = &types.CryptoKeyId{KeyId: text}
	case "fault_tolerance":
		vm.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceState(text)
	case "connection":
		vm.Runtime.ConnectionState = types.VirtualMachineConnectionState(text)
	case "secure_boot":
		vm.Config.Firmware = "efi"
		vm.Config.BootOptions.EfiSecureBootEnabled = &flag
	case "device":
		return addDevice(devices, text)
	case "free_bytes":
		for _, ds := range vm.Datastore {
			simulator.Map.Get(ds).(*simulator.Datastore).Summary.FreeSpace = int64(value.(float64))
		}
	case "datastore_type":
		for _, ds := range vm.Datastore {
			simulator.Map.Get(ds).(*simulator.Datastore).Summary.Type = text
		}
	case "power":
		vm.Runtime.PowerState = types.VirtualMachinePowerState(text)
	case "parent":
		if text == "" {
			text = w.folder()
		}
		vm.Parent = &types.ManagedObjectReference{Type: "Folder", Value: text}
	case "host":
		vm.Runtime.Host = &types.ManagedObjectReference{Type: "HostSystem", Value: text}
	case "enable_uuid":
		vm.Config.ExtraConfig = append(vm.Config.ExtraConfig,
			&types.OptionValue{Key: "disk.EnableUUID", Value: text})
		tidyExtraConfig(vm)
	case "datastores", "host_mounts":
		list := w.object(w.machines[0]).Datastore // never a mover's own, movers are the last
		if !flag {
			list = nil
		}
		if path == "datastores" {
			vm.Datastore = list
		} else {
			simulator.Map.Get(*vm.Runtime.Host).(*simulator.HostSystem).Datastore = list
		}
	case "pvscsi": // on buses 1 to 3
		for _, device := range *devices {
			if c, ok := device.(*types.ParaVirtualSCSIController); ok && c.BusNumber%10 > 0 {
				c.BusNumber %= 10
				if !flag {
					c.BusNumber += 10
				}
			}
		}
	case "drs", "drs_override", "drs_rule":
		return w.setDRS(m, path, text, flag)
	case "storage_drs":
		w.setStorageDRS(m, text)
	case "storage_drs_override":
		return w.setStorageOverride(m, text)
	case "question":
		vm.Runtime.Question = nil
	default:
		return fmt.Errorf("cannot set %s", path)
	}
	return nil
}

func addDevice(devices *[]types.BaseVirtualDevice, kind string) error {
	t, ok := types.TypeFunc()(kind)
	if !ok {
		return fmt.Errorf("no device type %s", kind)
	}
	device, ok := reflect.New(t).Interface().(types.BaseVirtualDevice)
	if !ok || strings.HasPrefix(kind, "Base") {
		return fmt.Errorf("%s is no device", kind)
	}
	device.GetVirtualDevice().Key = int32(9000 + len(*devices))
	*devices = append(*devices, device)
	return nil
}

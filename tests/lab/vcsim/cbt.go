// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Change tracking is per 64 KiB, as VMware's commonly is.
const grain = 64 << 10

// The change tracking of one disk, within one epoch.
type disk struct {
	key   int32
	raw   string
	name  string // of its frozen images
	epoch string // "": not tracked
	seq   int
	hash  [][32]byte
	last  []int // per grain: the freeze that saw it changed; 0: never written
	lie   bool  // leave the first changed area out of every answer
}

// A frozen disk of a snapshot.
type frozen struct {
	disk  *disk
	path  string
	size  int64
	epoch string
	seq   int
	file  string // "[LocalDS_0] web1/disk1.vmdk", which is the snapshot's now
	uuid  string
	id    string // contentId
	last  []int  // as it was at the freeze: what changes later is not this snapshot's
}

type snapshotState struct {
	machine *machine
	disks   map[int32]*frozen
}

func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x", b)
}

func newDiskUUID() string {
	h := randomHex(12)
	return "6000C29" + h[:1] + "-" + h[1:5] + "-" + h[5:9] + "-" + h[9:13] + "-" + randomHex(6)
}

// "52 de 7f ... -.. .. / seq": bytes in hex with blanks, a dash in the middle.
func newEpoch() string {
	h := randomHex(16)
	var b strings.Builder
	for i := 0; i < 16; i++ {
		if i > 0 {
			b.WriteByte(map[bool]byte{true: '-', false: ' '}[i == 8])
		}
		b.WriteString(h[2*i : 2*i+2])
	}
	return b.String()
}

func (d *disk) begin() {
	d.epoch = newEpoch()
	d.seq = 0
	d.hash = nil
	d.last = nil
}

// Compare with the last freeze; `path` is the image just frozen.
func (d *disk) track(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	d.seq++
	buf := make([]byte, grain)
	zero := sha256.Sum256(make([]byte, grain))
	size := int64(0)
	for i := 0; ; i++ {
		n, err := io.ReadFull(f, buf)
		if n == 0 {
			break
		}
		size += int64(n)
		for j := n; j < grain; j++ {
			buf[j] = 0
		}
		h := sha256.Sum256(buf)
		if i >= len(d.hash) {
			d.hash = append(d.hash, zero)
			d.last = append(d.last, 0)
		}
		if h != d.hash[i] {
			d.hash[i] = h
			d.last[i] = d.seq
		}
		if err != nil {
			break
		}
	}
	return size, nil
}

// The snapshot's devices become its own, its disks' bytes are kept, and ids are stamped.
func (w *world) freeze(m *machine, ref types.ManagedObjectReference) error {
	vm := w.object(m)
	snapshot := simulator.Map.Get(ref).(*simulator.VirtualMachineSnapshot)
	tracking := vm.Config.ChangeTrackingEnabled != nil && *vm.Config.ChangeTrackingEnabled
	directory := filepath.Join(w.root, "frozen", ref.Value)
	state := &snapshotState{machine: m, disks: map[int32]*frozen{}}

	if err := os.MkdirAll(directory, 0700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(directory, "vm"), []byte(m.ref.Value), 0600); err != nil {
		return err
	}
	devices := make(simulatorDevices, len(vm.Config.Hardware.Device))
	copy(devices, vm.Config.Hardware.Device)
	for i, device := range devices {
		live, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		d := m.disk(live.Key)
		own := *live
		backing := *live.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		own.Backing = &backing
		devices[i] = &own
		if d == nil || strings.HasPrefix(backing.DiskMode, "independent") {
			continue
		}
		path := filepath.Join(directory, d.name)
		if out, err := exec.Command("cp", "--sparse=always", d.raw, path).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %s", err, out)
		}
		if tracking && d.epoch == "" && !m.late {
			d.begin()
		}
		backing.ContentId = randomHex(16)
		f := &frozen{disk: d, path: path, epoch: d.epoch, file: backing.FileName,
			uuid: backing.Uuid, id: backing.ContentId}
		w.diverge(live, &backing)
		var err error
		if f.size, err = d.track(path); err != nil {
			return err
		}
		if d.epoch != "" {
			f.seq = d.seq
			backing.ChangeId = fmt.Sprintf("%s/%d", d.epoch, d.seq)
		}
		f.last = append([]int(nil), d.last...)
		state.disks[live.Key] = f
	}
	m.late = false
	snapshot.Config.Hardware.Device = devices
	w.snapshots[ref.Value] = state
	return nil
}

// The machine goes on in another file, on top of the one that is the snapshot's.
func (w *world) diverge(live *types.VirtualDisk, base *types.VirtualDiskFlatVer2BackingInfo) {
	b := live.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	parent := *base
	b.Parent = &parent
	b.FileName = strings.TrimSuffix(base.FileName, ".vmdk") + "-000001.vmdk"
	b.ContentId = randomHex(16)
}

// The snapshot's file is the machine's own again.
func (w *world) merge(state *snapshotState) {
	for _, device := range w.object(state.machine).Config.Hardware.Device {
		d, ok := device.(*types.VirtualDisk)
		if !ok || state.disks[d.Key] == nil {
			continue
		}
		b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if ok && b.Parent != nil {
			b.FileName, b.Parent = b.Parent.FileName, b.Parent.Parent
		}
	}
}

type simulatorDevices = []types.BaseVirtualDevice

func (m *machine) disk(key int32) *disk {
	for _, d := range m.disks {
		if d.key == key {
			return d
		}
	}
	return nil
}

// Every disk's ids are of another epoch from now on, as after a power failure of the host.
func (m *machine) resetTracking() {
	for _, d := range m.disks {
		d.epoch = ""
	}
}

func (w *world) thaw(ref types.ManagedObjectReference) {
	if state := w.snapshots[ref.Value]; state != nil {
		w.mergeFails(state)
		w.merge(state)
		delete(w.snapshots, ref.Value)
		os.RemoveAll(filepath.Join(w.root, "frozen", ref.Value))
	}
}

func invalidArgument(property string) types.BaseMethodFault {
	return &types.InvalidArgument{InvalidProperty: property}
}

// Which grains are newer than the change id.
func (f *frozen) since(changeID string) (int, types.BaseMethodFault) {
	if f.epoch == "" {
		return 0, &types.FileFault{File: f.disk.name} // not tracked when the snapshot was taken
	}
	if changeID == "*" {
		return 0, nil
	}
	slash := strings.LastIndexByte(changeID, '/')
	if slash < 0 {
		return 0, invalidArgument("changeId")
	}
	seq, err := strconv.Atoi(changeID[slash+1:])
	if err != nil || changeID[:slash] != f.epoch || seq > f.seq {
		return 0, &types.FileFault{File: f.disk.name}
	}
	return seq, nil
}

func (w *world) changedAreas(req *types.QueryChangedDiskAreas) (*types.DiskChangeInfo, types.BaseMethodFault) {
	if req.Snapshot == nil {
		return nil, invalidArgument("snapshot")
	}
	state := w.snapshots[req.Snapshot.Value]
	if state == nil || state.machine.ref != req.This {
		return nil, &types.ManagedObjectNotFound{Obj: *req.Snapshot}
	}
	f := state.disks[req.DeviceKey]
	if f == nil {
		return nil, invalidArgument("deviceKey")
	}
	if req.StartOffset < 0 || req.StartOffset >= f.size {
		return nil, invalidArgument("startOffset")
	}
	seq, fault := f.since(req.ChangeId)
	if fault != nil {
		return nil, fault
	}
	return w.page(f, seq, req.StartOffset), nil
}

// One reply: at most w.page areas, and at most w.span bytes of the disk.
func (w *world) page(f *frozen, seq int, start int64) *types.DiskChangeInfo {
	end := f.size
	if w.span > 0 && start+w.span < end {
		end = start + w.span
	}
	info := &types.DiskChangeInfo{StartOffset: start}
	lied := !f.disk.lie
	at := start
	for at < end {
		g := at / grain
		next := (g + 1) * grain
		if next > end {
			next = end
		}
		if f.last[g] > seq {
			n := len(info.ChangedArea)
			if n > 0 && info.ChangedArea[n-1].Start+info.ChangedArea[n-1].Length == at {
				info.ChangedArea[n-1].Length += next - at
			} else if n == w.pageAreas {
				break
			} else {
				info.ChangedArea = append(info.ChangedArea,
					types.DiskChangeExtent{Start: at, Length: next - at})
			}
		}
		at = next
	}
	info.Length = at - start
	if !lied && len(info.ChangedArea) > 0 {
		info.ChangedArea = info.ChangedArea[1:]
	}
	return info
}

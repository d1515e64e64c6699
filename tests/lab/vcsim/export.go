// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A lease on the disks of a snapshot, and what is behind its URLs.
type lease struct {
	ref   types.ManagedObjectReference
	files map[string]*frozen
}

// The lease is an object of the simulator's, whose property collector shows its state.
func (w *world) exportSnapshot(req *types.ExportSnapshot) (types.ManagedObjectReference, types.BaseMethodFault) {
	none := types.ManagedObjectReference{}
	state := w.snapshots[req.This.Value]
	if state == nil {
		return none, &types.ManagedObjectNotFound{Obj: req.This}
	}
	for _, l := range w.leases {
		if l.files != nil {
			return none, faultOf("TaskInProgress") // one at a time
		}
	}
	object := &simulator.HttpNfcLease{}
	object.State = types.HttpNfcLeaseStateInitializing
	ref := simulator.Map.Put(object).Reference()
	l := &lease{ref: ref, files: map[string]*frozen{}}
	info := &types.HttpNfcLeaseInfo{Lease: ref, Entity: state.machine.ref, LeaseTimeout: 60}
	for i, d := range state.machine.disks {
		f := state.disks[d.key]
		if f == nil {
			continue
		}
		name := fmt.Sprintf("disk-%d.vmdk", i)
		disk := true
		l.files[name] = f
		info.DeviceUrl = append(info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: fmt.Sprintf("/%s/ParaVirtualSCSIController0:%d", state.machine.ref.Value, i),
			Url: fmt.Sprintf("https://*/nfc/%s/%s", ref.Value, name), TargetId: name, Disk: &disk})
		info.TotalDiskCapacityInKB += f.size / 1024
	}
	w.leases[ref.Value] = l
	ready := func() {
		object.Info = info
		object.State = types.HttpNfcLeaseStateReady
	}
	if w.taskTime == 0 {
		ready()
	} else {
		time.AfterFunc(w.taskTime, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			ready()
		})
	}
	return ref, nil
}

func (w *world) endLease(ref types.ManagedObjectReference) {
	delete(w.leases, ref.Value)
	simulator.Map.Remove(ref)
}

func (w *world) serveNFC(out http.ResponseWriter, in *http.Request) {
	p := strings.Split(in.URL.Path, "/")
	w.mu.Lock()
	l := w.leases[p[len(p)-2]]
	t := w.trouble("nfc")
	w.mu.Unlock()
	if l == nil || l.files[p[len(p)-1]] == nil {
		http.NotFound(out, in)
		return
	}
	f := l.files[p[len(p)-1]]
	var sink io.Writer = out
	if t != nil && t.Kind == "drop" { // after so many bytes
		sink = &cutter{out: out, left: t.MS}
	}
	if t != nil && t.Kind == "end" { // in order, but too early
		sink = &cutter{out: out, left: t.MS, quiet: true}
	}
	if t != nil && t.Kind == "zeroes" { // of the right length, but zeroes from there on
		sink = &cutter{out: out, left: t.MS, zeroes: true}
	}
	if t != nil && t.Kind == "slow" {
		time.Sleep(time.Duration(t.MS) * time.Millisecond)
	}
	b := bufio.NewWriterSize(sink, 64<<10)
	if err := writeVMDK(b, f.path, f.size); err != nil {
		panic(http.ErrAbortHandler)
	}
	if b.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}

type cutter struct {
	out    io.Writer
	left   int
	quiet  bool
	zeroes bool
}

func (c *cutter) Write(data []byte) (int, error) {
	if len(data) > c.left {
		n, _ := c.out.Write(data[:c.left])
		rest := len(data) - c.left
		c.left = 0
		if c.zeroes {
			m, err := c.out.Write(make([]byte, rest))
			return n + m, err
		}
		if c.quiet {
			return len(data), nil
		}
		return n, io.ErrClosedPipe
	}
	c.left -= len(data)
	return c.out.Write(data)
}

// --- streamOptimized VMDK, version 3 ---

const (
	sector       = 512
	grainSectors = 128
	gtEntries    = 512
	overhead     = 128 // sectors before the first grain
)

type writer struct {
	out io.Writer
	at  uint64 // sectors written
	err error
}

func (w *writer) sectors(data []byte) {
	if pad := len(data) % sector; pad != 0 {
		data = append(data, make([]byte, sector-pad)...)
	}
	if w.err == nil {
		_, w.err = w.out.Write(data)
	}
	w.at += uint64(len(data) / sector)
}

func (w *writer) marker(sectors uint64, kind uint32) {
	m := make([]byte, sector)
	binary.LittleEndian.PutUint64(m, sectors)
	binary.LittleEndian.PutUint32(m[12:], kind)
	w.sectors(m)
}

func header(capacity, gd uint64) []byte {
	h := make([]byte, sector)
	le := binary.LittleEndian
	copy(h, "KDMV")
	le.PutUint32(h[4:], 3)
	le.PutUint32(h[8:], 1|1<<16|1<<17)
	le.PutUint64(h[12:], capacity)
	le.PutUint64(h[20:], grainSectors)
	le.PutUint64(h[28:], 1)
	le.PutUint64(h[36:], 20)
	le.PutUint32(h[44:], gtEntries)
	le.PutUint64(h[56:], gd)
	le.PutUint64(h[64:], overhead)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], 1)
	return h
}

func writeVMDK(out io.Writer, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	capacity := uint64(size / sector)
	w := &writer{out: out}
	w.sectors(header(capacity, ^uint64(0)))
	w.sectors([]byte(fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"+
		"createType=\"streamOptimized\"\nRDONLY %d SPARSE \"disk.vmdk\"\nddb.adapterType = \"lsilogic\"\n", capacity)))
	w.sectors(make([]byte, (overhead-w.at)*sector))
	var directory []uint32
	table := make([]uint32, gtEntries)
	used := false
	flush := func() {
		if !used {
			directory = append(directory, 0)
			return
		}
		w.marker(gtEntries*4/sector, 1)
		directory = append(directory, uint32(w.at))
		var b bytes.Buffer
		binary.Write(&b, binary.LittleEndian, table)
		w.sectors(b.Bytes())
		table, used = make([]uint32, gtEntries), false
	}
	data := make([]byte, grainSectors*sector)
	for g := uint64(0); g*grainSectors < capacity; g++ {
		n, _ := f.ReadAt(data, int64(g*grainSectors*sector))
		for i := n; i < len(data); i++ {
			data[i] = 0
		}
		if len(bytes.Trim(data, "\x00")) > 0 {
			var b bytes.Buffer
			b.Write(make([]byte, 12))
			z := zlib.NewWriter(&b)
			z.Write(data)
			z.Close()
			binary.LittleEndian.PutUint64(b.Bytes(), g*grainSectors)
			binary.LittleEndian.PutUint32(b.Bytes()[8:], uint32(b.Len()-12))
			table[g%gtEntries], used = uint32(w.at), true
			w.sectors(b.Bytes())
		}
		if g%gtEntries == gtEntries-1 {
			flush()
		}
	}
	flush()
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, directory)
	w.marker(uint64((b.Len()+sector-1)/sector), 2)
	gd := w.at
	w.sectors(b.Bytes())
	w.marker(1, 3)
	w.sectors(header(capacity, gd))
	w.marker(0, 0)
	return w.err
}

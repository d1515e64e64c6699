// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A file of a machine's disk on its datastore.
type diskFile struct {
	machine *machine
	disk    *disk
	flat    bool
}

// /folder: the descriptors and flat files of the machines' disks.  The simulator's own checks no
// session, and knows no locks.  Troubles of "folder": "status", "drop", "length" (MS bytes are
// missing), "whole" (ranges are not understood), "shift" (another range), "delta" (a descriptor).
func (w *world) serveFolder(out http.ResponseWriter, in *http.Request) {
	w.mu.Lock()
	w.calls["folder"]++
	ok := w.hasSession(in)
	denied := w.denied["Datastore.Browse"] || w.denied["Datastore.FileManagement"]
	f := w.diskFile(in)
	t := w.trouble("folder")
	var image string
	var locked bool
	if f != nil {
		image = w.imageOf(f)
		locked = w.object(f.machine).Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff
	}
	w.mu.Unlock()
	switch {
	case !ok:
		http.Error(out, "log in first", http.StatusUnauthorized)
	case denied:
		http.Error(out, "no", http.StatusForbidden)
	case t != nil && t.Kind == "status":
		http.Error(out, "<html>out of order</html>", t.Status)
	case t != nil && t.Kind == "drop":
		cut(out)
	case f == nil: // the machines' other files are the simulator's
		w.service.ServeDatastore(out, in)
	case f.flat && locked:
		http.Error(out, "Failed to lock the file", http.StatusInternalServerError)
	case f.flat:
		serveFlat(out, in, image, t)
	default:
		text := f.descriptor(image)
		if t != nil && t.Kind == "delta" {
			text = strings.Replace(text, "parentCID=ffffffff", "parentCID=12345678", 1)
		}
		fmt.Fprint(out, text)
	}
}

// "/folder/NAME/diskN.vmdk" or "-flat.vmdk", of the one datacenter and datastore.
func (w *world) diskFile(in *http.Request) *diskFile {
	q := in.URL.Query()
	if q.Get("dsName") != datastore || q.Get("dcPath") != w.datacenter() {
		return nil
	}
	file := strings.TrimPrefix(in.URL.Path, "/folder/")
	flat := strings.HasSuffix(file, "-flat.vmdk")
	if flat {
		file = strings.TrimSuffix(file, "-flat.vmdk") + ".vmdk"
	}
	for _, m := range w.machines {
		for _, d := range m.disks {
			if d.name == frozenName("["+datastore+"] "+file) {
				return &diskFile{machine: m, disk: d, flat: flat}
			}
		}
	}
	return nil
}

func (w *world) datacenter() string {
	for _, m := range w.machines {
		for at := w.object(m).Parent; at != nil; {
			entity, ok := simulator.Map.Get(*at).(mo.Entity)
			if !ok {
				break
			}
			if at.Type == "Datacenter" {
				return entity.Entity().Name
			}
			at = entity.Entity().Parent
		}
	}
	return ""
}

// With a snapshot the base file stands still; without one it is what the machine writes.
func (w *world) imageOf(f *diskFile) string {
	for _, state := range w.snapshots {
		if state.machine == f.machine && state.disks[f.disk.key] != nil {
			return state.disks[f.disk.key].path
		}
	}
	return f.disk.raw
}

func (f *diskFile) descriptor(image string) string {
	size := int64(0)
	if stat, err := os.Stat(image); err == nil {
		size = stat.Size()
	}
	name := strings.TrimSuffix(f.disk.name, ".vmdk.raw")
	name = name[strings.LastIndex(name, "_")+1:]
	return fmt.Sprintf("# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\n"+
		"parentCID=ffffffff\ncreateType=\"vmfs\"\n\n# Extent description\n"+
		"RW %d VMFS \"%s-flat.vmdk\"\n\nddb.virtualHWVersion = \"19\"\n", size/sector, path.Base(name))
}

func serveFlat(out http.ResponseWriter, in *http.Request, image string, t *trouble) {
	file, err := os.Open(image)
	if err != nil {
		http.NotFound(out, in)
		return
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		http.NotFound(out, in)
		return
	}
	size := stat.Size()
	if t != nil && t.Kind == "length" { // so many bytes less
		size -= int64(t.MS)
	}
	if t != nil && t.Kind == "whole" { // ranges are not understood
		in.Header.Del("Range")
	}
	if t != nil && t.Kind == "shift" { // another part than the one that was asked for
		in.Header.Set("Range", "bytes=512-1023")
	}
	out.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(out, in, "", time.Time{}, io.NewSectionReader(file, 0, size))
}

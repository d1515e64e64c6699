// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

type world struct {
	service *simulator.Service
	root    string
	url     *url.URL
	token   string // who may use the control

	mu        sync.Mutex // held while a call is carried out; guards all below
	machines  []*machine
	snapshots map[string]*snapshotState
	troubles  []*trouble
	denied    map[string]bool
	taskTime  time.Duration
	pageAreas int
	span      int64
	sessions  map[string]int // by cookie: w.killed at its login
	leases    map[string]*lease
	killed    int
	foreign   int                  // snapshots made by hand
	calls     map[string]int       // by method
	added     map[string]*hotAdded // by mover and device key
	clones    map[string]*clone    // by moref
	deniedOn  map[string][]string  // by moref: privileges the account lacks there
	lost      []string             // files of others that were deleted
	misuses   []string             // what no client may do
	stuck     map[string]func()    // by task: carries it out
}

func newWorld(service *simulator.Service, c *config) *world {
	w := &world{service: service, root: c.Root, token: os.Getenv("LAB_TOKEN"),
		snapshots: map[string]*snapshotState{}, denied: map[string]bool{}, pageAreas: 2000,
		sessions: map[string]int{}, calls: map[string]int{},
		stuck: map[string]func(){}, leases: map[string]*lease{}, added: map[string]*hotAdded{}, clones: map[string]*clone{}}
	if w.token == "" {
		log.Fatal("LAB_TOKEN is not set")
	}
	return w
}

// Patterns with a host win over the simulator's own.
func (w *world) register(mux *http.ServeMux) {
	mux.HandleFunc("127.0.0.1/sdk", w.serveSDK)
	mux.HandleFunc("127.0.0.1/folder/", w.serveFolder)
	mux.HandleFunc("127.0.0.1/nfc/", w.serveNFC)
	mux.HandleFunc("127.0.0.1/lab", w.serveControl)
}

func (w *world) hasSession(in *http.Request) bool {
	const probe = `<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>` +
		`<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this>` +
		`</CurrentTime></Body></Envelope>`
	w.forgetKilled(in)
	r := httptest.NewRecorder()
	w.service.ServeSDK(r, w.request(in, []byte(probe)))
	return r.Code == http.StatusOK
}

// A session that was killed is as none.
func (w *world) forgetKilled(in *http.Request) {
	if c, err := in.Cookie(soap.SessionCookieName); err == nil {
		if born, ok := w.sessions[c.Value]; ok && born < w.killed {
			in.Header.Del("Cookie")
		}
	}
}

func (w *world) request(in *http.Request, body []byte) *http.Request {
	r := in.Clone(context.Background())
	r.Method = http.MethodPost
	r.URL.Path = "/sdk"
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return r
}

func (w *world) serveSDK(out http.ResponseWriter, in *http.Request) {
	defer endByPanic()
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return
	}
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil { // the simulator says what is wrong with it
		w.service.ServeSDK(out, w.request(in, body))
		return
	}
	if method.Name == "WaitForUpdatesEx" { // it waits: not under the lock
		w.service.ServeSDK(out, w.request(in, body))
		return
	}
	answer := httptest.NewRecorder()
	w.mu.Lock()
	w.calls[method.Name]++
	t := w.trouble(method.Name)
	if t != nil && t.Kind == "slow" {
		w.mu.Unlock()
		time.Sleep(time.Duration(t.MS) * time.Millisecond)
		w.mu.Lock()
	}
	if t != nil && t.Kind == "drop" {
		w.mu.Unlock()
		cut(out)
		return
	}
	w.carryOut(answer, in, method, body, t)
	w.mu.Unlock()
	for key, values := range answer.Header() {
		out.Header()[key] = values
	}
	out.Header().Set("Content-Type", "text/xml; charset=utf-8")
	out.WriteHeader(answer.Code)
	out.Write(answer.Body.Bytes())
}

// Else the lock would be held for ever.
func endByPanic() {
	if why := recover(); why != nil {
		log.Fatalf("panic: %v\n%s", why, debug.Stack())
	}
}

func cut(out http.ResponseWriter) {
	if h, ok := out.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			conn.Close()
		}
	}
}

func (w *world) carryOut(answer *httptest.ResponseRecorder, in *http.Request,
	method *simulator.Method, body []byte, t *trouble) {
	w.forgetKilled(in)
	if t != nil && t.Kind == "status" {
		http.Error(answer, "<html>out of order</html>", t.Status)
		return
	}
	if t != nil && t.Kind == "soap" {
		writeFault(answer, faultOf(t.Fault))
		return
	}
	if t != nil && t.Kind == "stuck" {
		w.stickTask(answer, method)
		return
	}
	if t != nil && t.Kind == "task" {
		w.failedTask(answer, method, faultOf(t.Fault))
		return
	}
	if t != nil && t.Kind == "ignored" {
		writeResponse(answer, method.Name+"Response", &struct{}{})
		return
	}
	switch req := method.Body.(type) {
	case *types.ConsolidateVMDisks_Task:
		w.consolidate(answer, method)
		w.after(answer, method, t)
		return
	case *types.CancelTask:
		w.answer(answer, in, method, func() (interface{}, types.BaseMethodFault) {
			return &types.CancelTaskResponse{}, w.cancelTask(method.This)
		})
		return
	case *types.QueryChangedDiskAreas:
		w.answer(answer, in, method, func() (interface{}, types.BaseMethodFault) {
			info, fault := w.changedAreas(req)
			return &types.QueryChangedDiskAreasResponse{Returnval: deref(info)}, fault
		})
		return
	case *types.ExportSnapshot:
		w.answer(answer, in, method, func() (interface{}, types.BaseMethodFault) {
			ref, fault := w.exportSnapshot(req)
			return &types.ExportSnapshotResponse{Returnval: ref}, fault
		})
		return
	case *types.HttpNfcLeaseComplete, *types.HttpNfcLeaseAbort:
		w.answer(answer, in, method, func() (interface{}, types.BaseMethodFault) {
			if w.leases[method.This.Value] == nil {
				return nil, &types.ManagedObjectNotFound{Obj: method.This}
			}
			w.endLease(method.This)
			return &struct{}{}, nil
		})
		return
	case *types.CloneVM_Task:
		w.cloneMachine(answer, in, method, req)
		w.after(answer, method, t)
		return
	case *types.ReconfigVM_Task:
		if fault := w.refuse(req); fault != nil {
			w.failedTask(answer, method, fault)
			return
		}
	case *types.HasPrivilegeOnEntities:
		w.answer(answer, in, method, func() (interface{}, types.BaseMethodFault) {
			return w.privileges(req), nil
		})
		return
	}
	w.service.ServeSDK(answer, w.request(in, body))
	w.after(answer, method, t)
}

func deref(info *types.DiskChangeInfo) types.DiskChangeInfo {
	if info == nil {
		return types.DiskChangeInfo{}
	}
	return *info
}

// Methods of our own need a session, and the privileges their callers need.
func (w *world) answer(answer *httptest.ResponseRecorder, in *http.Request,
	method *simulator.Method, f func() (interface{}, types.BaseMethodFault)) {
	if !w.hasSession(in) {
		writeFault(answer, &types.NotAuthenticated{NoPermission: types.NoPermission{
			Object: method.This, PrivilegeId: "System.View"}})
		return
	}
	res, fault := f()
	if fault != nil {
		writeFault(answer, fault)
		return
	}
	writeResponse(answer, method.Name+"Response", res)
}

func (w *world) privileges(req *types.HasPrivilegeOnEntities) *types.HasPrivilegeOnEntitiesResponse {
	res := &types.HasPrivilegeOnEntitiesResponse{}
	for _, e := range req.Entity {
		p := types.EntityPrivilege{Entity: e}
		for _, id := range req.PrivId {
			p.PrivAvailability = append(p.PrivAvailability,
				types.PrivilegeAvailability{PrivId: id, IsGranted: !w.denied[id] && !contains(w.deniedOn[e.Value], id)})
		}
		res.Returnval = append(res.Returnval, p)
	}
	return res
}

func contains(list []string, one string) bool {
	for _, text := range list {
		if text == one {
			return true
		}
	}
	return false
}

var taskRef = regexp.MustCompile(`type="Task"[^>]*>([^<]+)<`)

// What must happen beside a call that the simulator has carried out.
func (w *world) after(answer *httptest.ResponseRecorder, method *simulator.Method, t *trouble) {
	if answer.Code != http.StatusOK {
		return
	}
	if method.Name == "Login" {
		for _, c := range answer.Result().Cookies() {
			w.sessions[c.Value] = w.killed
		}
		return
	}
	found := taskRef.FindStringSubmatch(answer.Body.String())
	if !strings.HasSuffix(method.Name, "_Task") || found == nil {
		return
	}
	ref := types.ManagedObjectReference{Type: "Task", Value: found[1]}
	task, ok := simulator.Map.Get(ref).(*simulator.Task)
	if !ok {
		return
	}
	if snapshot, ok := simulator.Map.Get(*task.Info.Entity).(*simulator.VirtualMachineSnapshot); ok {
		task.Info.Entity = &snapshot.Vm // a snapshot is no entity of the inventory
	} else if state := w.snapshots[task.Info.Entity.Value]; state != nil {
		task.Info.Entity = &state.machine.ref
	}
	remember(task)
	if task.Info.State == types.TaskInfoStateSuccess {
		w.hook(method, task)
	}
	w.prolong(method, task, t)
}

func (w *world) hook(method *simulator.Method, task *simulator.Task) {
	switch method.Name {
	case "CreateSnapshot_Task":
		m := w.machineByRef(method.This)
		ref, ok := task.Info.Result.(types.ManagedObjectReference)
		if m != nil && ok {
			if err := w.freeze(m, ref); err != nil {
				log.Fatalf("freeze: %v", err)
			}
		}
	case "RemoveSnapshot_Task":
		w.thaw(method.This)
	case "ReconfigVM_Task":
		req := method.Body.(*types.ReconfigVM_Task)
		m := w.machineByRef(method.This)
		if m != nil && req.Spec.ChangeTrackingEnabled != nil {
			m.resetTracking()
		}
		w.hotAdd(req)
	case "Destroy_Task":
		w.destroy(method.This)
	}
}

// The simulator's tasks have ended when the answer comes; real ones take their time.
func (w *world) prolong(method *simulator.Method, task *simulator.Task, t *trouble) {
	end := task.Info
	if t != nil && (t.Kind == "hang" || t.Kind == "question") {
		task.Info.State = types.TaskInfoStateRunning
		task.Info.Result = nil
		if vm, ok := simulator.Map.Get(method.This).(*simulator.VirtualMachine); ok && t.Kind == "question" {
			vm.Runtime.Question = &types.VirtualMachineQuestionInfo{Id: "1",
				Text: "msg.hbacommon.outofspace: There is no more space. Retry?"}
		}
		return
	}
	if w.taskTime == 0 {
		return
	}
	task.Info.State = types.TaskInfoStateRunning
	task.Info.Progress = 10
	task.Info.Result, task.Info.Error, task.Info.CompleteTime = nil, nil, nil
	time.AfterFunc(w.taskTime, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		task.Info = end
	})
}

// The simulator keeps no list of a machine's tasks.
func remember(task *simulator.Task) {
	if vm, ok := simulator.Map.Get(*task.Info.Entity).(*simulator.VirtualMachine); ok {
		if len(vm.RecentTask) >= 10 {
			vm.RecentTask = vm.RecentTask[1:]
		}
		vm.RecentTask = append(vm.RecentTask, task.Self)
	}
}

// It does nothing until it is let go, and nobody can cancel it.  Then a snapshot is made, whatever became of the
// session that wanted it; of other methods the task just ends.
func (w *world) stickTask(answer *httptest.ResponseRecorder, method *simulator.Method) {
	name := strings.TrimSuffix(method.Name, "_Task")
	task := simulator.CreateTask(method.This, strings.ToLower(name[:1])+name[1:], nil)
	task.Info.State = types.TaskInfoStateRunning
	remember(task)
	w.stuck[task.Self.Value] = func() {
		if req, ok := method.Body.(*types.CreateSnapshot_Task); ok {
			body := w.object(w.machineByRef(req.This)).CreateSnapshotTask(req).(*methods.CreateSnapshot_TaskBody)
			w.hook(method, simulator.Map.Get(body.Res.Returnval).(*simulator.Task))
		}
		task.Info.State = types.TaskInfoStateSuccess
	}
	writeResponse(answer, method.Name+"Response", &struct {
		Returnval types.ManagedObjectReference `xml:"returnval"`
	}{task.Self})
}

func (w *world) letGo() {
	for id, carryOut := range w.stuck {
		delete(w.stuck, id)
		carryOut()
	}
}

func (w *world) cancelTask(ref types.ManagedObjectReference) types.BaseMethodFault {
	task, ok := simulator.Map.Get(ref).(*simulator.Task)
	if !ok {
		return &types.ManagedObjectNotFound{Obj: ref}
	}
	if w.stuck[ref.Value] != nil {
		return &types.NotSupported{}
	}
	if task.Info.State == types.TaskInfoStateRunning {
		task.Info.State = types.TaskInfoStateError
		task.Info.Error = &types.LocalizedMethodFault{Fault: &types.RequestCanceled{}, LocalizedMessage: "canceled"}
	}
	return nil
}

// The simulator has no such method.
func (w *world) consolidate(answer *httptest.ResponseRecorder, method *simulator.Method) {
	vm, ok := simulator.Map.Get(method.This).(*simulator.VirtualMachine)
	if !ok {
		writeFault(answer, &types.ManagedObjectNotFound{Obj: method.This})
		return
	}
	task := simulator.CreateTask(method.This, "ConsolidateVMDisks",
		func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
			no := false
			vm.Runtime.ConsolidationNeeded = &no
			return nil, nil
		})
	writeResponse(answer, "ConsolidateVMDisks_TaskResponse",
		&types.ConsolidateVMDisks_TaskResponse{Returnval: task.Run()})
}

func (w *world) failedTask(answer *httptest.ResponseRecorder, method *simulator.Method,
	fault types.BaseMethodFault) {
	task := simulator.CreateTask(method.This, strings.TrimSuffix(method.Name, "_Task"),
		func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, fault })
	ref := task.Run()
	writeResponse(answer, method.Name+"Response", &struct {
		Returnval types.ManagedObjectReference `xml:"returnval"`
	}{ref})
}

// --- XML, in the simulator's manner ---

type envelope struct {
	XMLName xml.Name    `xml:"soapenv:Envelope"`
	Env     string      `xml:"xmlns:soapenv,attr"`
	XSD     string      `xml:"xmlns:xsd,attr"`
	XSI     string      `xml:"xmlns:xsi,attr"`
	Body    interface{} `xml:"soapenv:Body"`
}

type content struct {
	name  xml.Name
	attrs []xml.Attr
	value interface{}
}

func (c *content) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	if err := e.EncodeElement(c.value, xml.StartElement{Name: c.name, Attr: c.attrs}); err != nil {
		return err
	}
	return e.EncodeToken(start.End())
}

func write(answer *httptest.ResponseRecorder, status int, body interface{}) {
	var out bytes.Buffer
	fmt.Fprint(&out, xml.Header)
	err := xml.NewEncoder(&out).Encode(&envelope{
		Env:  "http://schemas.xmlsoap.org/soap/envelope/",
		XSD:  "http://www.w3.org/2001/XMLSchema",
		XSI:  "http://www.w3.org/2001/XMLSchema-instance",
		Body: body,
	})
	if err != nil {
		log.Fatalf("encoding: %v", err)
	}
	answer.WriteHeader(status)
	answer.Write(out.Bytes())
}

func urn(name string) xml.Name {
	return xml.Name{Space: "urn:vim25", Local: name}
}

func writeResponse(answer *httptest.ResponseRecorder, name string, value interface{}) {
	write(answer, http.StatusOK,
		&content{name: urn(name), value: value})
}

type faultDetail struct{ fault types.BaseMethodFault }

func (d *faultDetail) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	kind := reflect.TypeOf(d.fault).Elem().Name()
	start.Name.Local = kind + "Fault"
	start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: "xmlns"}, Value: "urn:vim25"},
		xml.Attr{Name: xml.Name{Local: "xsi:type"}, Value: kind})
	return e.EncodeElement(d.fault, start)
}

func writeFault(answer *httptest.ResponseRecorder, fault types.BaseMethodFault) {
	type detail struct {
		Fault *faultDetail
	}
	type soapFault struct {
		Code   string `xml:"faultcode"`
		String string `xml:"faultstring"`
		Detail detail `xml:"detail"`
	}
	write(answer, http.StatusInternalServerError, &struct {
		Fault *soapFault `xml:"soapenv:Fault"`
	}{&soapFault{Code: "ServerFaultCode", Detail: detail{&faultDetail{fault}}}})
}

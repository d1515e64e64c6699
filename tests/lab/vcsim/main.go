// SPDX-License-Identifier: Apache-2.0

// A vCenter (or ESXi) for tests: VMware's own simulator, and in front of it what that lacks.
//
//	vcsim CONFIG.json
//
// The simulator keeps the inventory, sessions, tasks and the property collector, and writes its
// own XML.  The front (front.go) answers QueryChangedDiskAreas from real raw files (cbt.go),
// ExportSnapshot by leases on streamOptimized images (export.go), serves /folder (folder.go), makes tasks take time and
// methods fail when told so (control.go), and checks privileges.
//
// When it is ready, "ready URL" is written to standard output.  It ends by SIGTERM.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/vmware/govmomi/simulator"
)

type diskConfig struct {
	Raw string `json:"raw"` // live content, written by the tests while the machine "runs"
}

type machineConfig struct {
	Name     string       `json:"name"`
	Disks    []diskConfig `json:"disks"`
	CPUs     int32        `json:"cpus"`
	MemoryMB int64        `json:"memory_mb"`
	Firmware string       `json:"firmware"`
	Off      bool         `json:"off"`
	Guest    string       `json:"guest"` // a mover: where its guest sees its disks
	Host     int          `json:"host"`  // which of the hosts it runs on
}

type config struct {
	Listen      string          `json:"listen"` // "127.0.0.1:0"
	Root        string          `json:"root"`   // frozen images go below
	Certificate string          `json:"certificate"`
	Key         string          `json:"key"`
	User        string          `json:"user"`
	Password    string          `json:"password"` // path of a file
	ESX         bool            `json:"esx"`
	Cluster     bool            `json:"cluster"` // of two hosts, instead of one host
	Fill        int             `json:"fill"`    // machines without disks of their own
	Machines    []machineConfig `json:"machines"`
}

func readConfig(path string) (*config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &config{Listen: "127.0.0.1:0"}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	return c, nil
}

func model(c *config) *simulator.Model {
	m := simulator.VPX()
	m.Cluster = 0
	if c.Cluster {
		m.Cluster, m.ClusterHost, m.Host = 1, 2, 0
	}
	if c.ESX {
		m = simulator.ESX()
	}
	m.Machine = c.Fill
	return m
}

func run(path string) error {
	c, err := readConfig(path)
	if err != nil {
		return err
	}
	password, err := os.ReadFile(c.Password)
	if err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return err
	}
	m := model(c)
	if err := m.Create(); err != nil {
		return err
	}
	defer m.Remove()

	service := m.Service
	service.Listen = &url.URL{Host: c.Listen, User: url.UserPassword(c.User, string(password))}
	service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	service.ServeMux = http.NewServeMux()
	w := newWorld(service, c)
	w.register(service.ServeMux)
	server := service.NewServer()
	defer server.Close()
	w.url = server.URL
	if err := w.createMachines(c.Machines); err != nil {
		return err
	}

	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	fmt.Printf("ready https://%s\n", server.URL.Host)
	<-end
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: vcsim CONFIG.json")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

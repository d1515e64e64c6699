# SPDX-License-Identifier: Apache-2.0
"""The simulator's extension as another client sees it: pyvmomi, which decodes by VMware's own
types.  So client and simulator of ours cannot agree on a mistake."""
import ssl
import time
import urllib.error
import urllib.request

import pytest
from pyVmomi import SoapStubAdapter, vim, vmodl

MACHINES = ["web1=16M,24M"]
FLAGS = {"mover": True}


@pytest.fixture
def content(vc):
    host, port = vc.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=f"{vc.dir}/tls/cert.pem")
    stub = SoapStubAdapter(host=host, port=int(port), version="vim.version.version11",
                           sslContext=context)
    content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
    content.sessionManager.Login(vc.read("user"), vc.read("password"))
    yield content
    content.sessionManager.Logout()


def wait(task):
    while task.info.state not in ("success", "error"):
        time.sleep(0.02)
    if task.info.state == "error":
        raise task.info.error
    return task.info.result


def machine(content, name="web1"):
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    return next(m for m in view.view if m.name == name)


def disk(snapshot):
    return next(d for d in snapshot.config.hardware.device
                if isinstance(d, vim.vm.device.VirtualDisk))


def areas(info):
    return [(a.start, a.length) for a in info.changedArea]


def test_changed_areas_decode(vc, content):
    web1 = machine(content)
    wait(web1.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    vc.write("web1", 1, 3 << 20, b"x" * 70000)
    first = wait(web1.CreateSnapshot_Task("one", "", False, False))
    one = disk(first)
    assert one.backing.uuid.startswith("6000C29") and one.capacityInBytes == 16 << 20
    assert one.key == 2000 and one.backing.changeId.endswith("/1")
    used = web1.QueryChangedDiskAreas(first, one.key, 0, "*")
    assert (used.startOffset, used.length) == (0, 16 << 20)
    assert areas(used) == [(3 << 20, 128 << 10)]
    wait(first.RemoveSnapshot_Task(False))
    vc.write("web1", 1, 0, b"y")
    second = wait(web1.CreateSnapshot_Task("two", "", False, False))
    vc.write("web1", 1, 8 << 20, b"z")  # not of this snapshot
    changed = web1.QueryChangedDiskAreas(second, 2000, 0, one.backing.changeId)
    assert areas(changed) == [(0, 64 << 10)]
    vc.control(page_span=1 << 20)
    page = web1.QueryChangedDiskAreas(second, 2000, 1 << 20, one.backing.changeId)
    assert (page.startOffset, page.length, areas(page)) == (1 << 20, 1 << 20, [])
    with pytest.raises(vim.fault.FileFault):
        web1.QueryChangedDiskAreas(second, 2000, 0, "52 00 00 00 00 00 00 00-00/1")
    with pytest.raises(vmodl.fault.InvalidArgument):
        web1.QueryChangedDiskAreas(second, 4711, 0, "*")
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        web1.QueryChangedDiskAreas(first, 2000, 0, "*")
    wait(second.RemoveSnapshot_Task(False))
    assert not list((vc.dir / "frozen").iterdir())


def test_privileges_decode(vc, content):
    vc.control(deny=["VApp.Export"])
    answer = content.authorizationManager.HasPrivilegeOnEntities(
        [machine(content)], content.sessionManager.currentSession.key,
        ["System.Read", "VApp.Export"])
    assert [p.isGranted for p in answer[0].privAvailability] == [True, False]
    vc.control(deny=[])


def test_faults_decode(vc, content):
    web1 = machine(content)
    vc.trouble("CreateSnapshot_Task", "task", fault="FilesystemQuiesceFault")
    with pytest.raises(vim.fault.FilesystemQuiesceFault):
        wait(web1.CreateSnapshot_Task("x", "", False, True))
    vc.trouble("CreateSnapshot_Task", "soap", fault="TaskInProgress")
    with pytest.raises(vim.fault.TaskInProgress):
        web1.CreateSnapshot_Task("x", "", False, True)
    vc.control(task_ms=300)
    task = web1.CreateSnapshot_Task("x", "", False, False)
    assert task.info.state == "running" and task.info.result is None
    wait(wait(task).RemoveSnapshot_Task(False))
    vc.control(task_ms=0)


def test_files_need_a_session(vc):
    context = ssl.create_default_context(cafile=f"{vc.dir}/tls/cert.pem")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{vc.url}/folder/web1/web1.vmx?dcPath=DC0&dsName=LocalDS_0",
                               context=context, timeout=10)
    assert refused.value.code == 401


def add_disk(mover, file, mode="independent_nonpersistent", unit=0):
    bus = next(d for d in mover.config.hardware.device
               if isinstance(d, vim.vm.device.ParaVirtualSCSIController) and d.busNumber == 1)
    new = vim.vm.device.VirtualDisk(
        key=-1, controllerKey=bus.key, unitNumber=unit, capacityInKB=0,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=file, diskMode=mode))
    return mover.ReconfigVM_Task(vim.vm.ConfigSpec(
        deviceChange=[vim.vm.device.VirtualDeviceSpec(operation="add", device=new)],
        extraConfig=[vim.option.OptionValue(key="note", value=file)]))


def test_hot_adding_as_a_host_does(vc, content):
    """Its locks and slots, a linked clone, and files that go with the machine they hang on."""
    web1, mover = machine(content), machine(content, "mover")
    file = web1.config.hardware.device[-2].backing.fileName
    assert file.endswith("/disk2.vmdk")
    with pytest.raises(vim.fault.FileLocked):
        wait(add_disk(mover, file))  # what the machine writes
    snapshot = wait(web1.CreateSnapshot_Task("x", "", False, False))
    live = next(d for d in web1.config.hardware.device if d.key == 2001)
    assert live.backing.fileName.endswith("/disk2-000001.vmdk") and live.backing.parent.fileName == file
    frozen = next(d for d in snapshot.config.hardware.device if d.key == 2001)
    assert frozen.backing.fileName == file
    for fault, path, more in ((vim.fault.FileLocked, file, {"mode": "persistent"}),
                              (vim.fault.InvalidDeviceSpec, file, {"unit": 7}),
                              (vim.fault.FileNotFound, "[LocalDS_0] web1/none.vmdk", {})):
        with pytest.raises(fault):
            wait(add_disk(mover, path, **more))
    wait(add_disk(mover, file))
    added = mover.config.hardware.device[-1]
    assert (added.backing.uuid, added.backing.contentId) == (frozen.backing.uuid, frozen.backing.contentId)
    assert added.capacityInBytes == 24 << 20
    assert [o.value for o in mover.config.extraConfig if o.key == "note"] == [file]
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        wait(add_disk(mover, file))
    spec = vim.vm.CloneSpec(location=vim.vm.RelocateSpec(diskMoveType="createNewChildDiskBacking"), template=False,
                            powerOn=False, snapshot=snapshot, config=vim.vm.ConfigSpec())
    clone = wait(web1.CloneVM_Task(web1.parent, "clone", spec))
    child = next(d for d in clone.config.hardware.device if d.key == 2001)
    assert child.backing.parent.fileName == file and child.backing.uuid != frozen.backing.uuid
    wait(clone.Destroy_Task())
    assert vc.control()["lost"] is None
    wait(mover.PowerOff())
    wait(mover.Destroy_Task())
    assert vc.control()["lost"] == [file] and vc.control()["attached"] == []
    wait(snapshot.RemoveSnapshot_Task(False))

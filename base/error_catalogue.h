/* SPDX-License-Identifier: Apache-2.0 */
/* The error catalogue: X(ID, KIND, retry is safe, cause, fix).
 *
 * One line per error an admin can meet.  The cause says what is wrong in
 * general, the fix what to do; the particulars (names, numbers) are in the
 * error's message.  Ids are part of the API and never change their meaning.
 */
#pragma once

/* clang-format off */
#define BF_ERROR_CATALOGUE(X) \
    /* --- general --- */ \
    X(INTERNAL, SYSTEM, false, "blockferry met a condition it did not expect", "report it, with the service's log (journalctl -u blockferryd) and blockferry report NAME --json; the replication can be retried") \
    X(SYSTEM, SYSTEM, true, "the operating system refused a call", "see the message; free the resource it names and retry") \
    X(NO_MEMORY, SYSTEM, true, "not enough memory", "give the service more memory or run fewer rounds at a time") \
    X(CANCELLED, CANCELLED, true, "the operation was cancelled", "start it again when wanted") \
    X(DEADLINE, TRANSIENT, true, "an answer did not come in time", "check load and network of the platform, then retry") \
    X(BAD_INPUT, INPUT, false, "a value is missing, malformed or out of range", "correct the field that the message names") \
    X(BAD_JSON, INPUT, false, "the text is not valid JSON or a field has the wrong type", "correct the field that the message names") \
    X(TOO_LARGE, INPUT, false, "the request is larger than allowed", "send less") \
    X(UNKNOWN_ROUTE, NOT_FOUND, false, "the API has no such resource", "see docs/openapi.yaml") \
    X(METHOD_NOT_ALLOWED, INPUT, false, "the resource does not know this method", "see docs/openapi.yaml") \
    X(FORBIDDEN, AUTH, false, "the caller may not do this", "use an account of the needed role") \
    X(TLS, AUTH, false, "the TLS peer could not be verified", "give the right CA, certificate or fingerprint") \
    X(PROTOCOL, DATA, true, "the peer's answer breaks its protocol", "check what answers at this address; retry") \
    /* --- child processes --- */ \
    X(CHILD_FAILED, SYSTEM, true, "a helper program failed", "see its last output in the evidence") \
    X(CHILD_MISSING, UNSUPPORTED, false, "a helper program is not installed", "install the package that the message names") \
    /* --- store and service --- */ \
    X(STORE, SYSTEM, false, "the state database cannot be read or written", "check the disk of the state directory; restore a backup if it is damaged") \
    X(STORE_NEWER, CONFLICT, false, "the state directory was written by a newer version", "run that version, or put back the copy made before the upgrade (blockferryd(8))") \
    X(STORE_LOCKED, CONFLICT, false, "another blockferryd uses this state directory", "stop the other one first") \
    X(SEAL_KEY, AUTH, false, "the key that seals secrets is missing or wrong", "give the service the key the secrets were sealed with") \
    X(STATE_FORBIDS, CONFLICT, false, "the replication's state does not allow this verb", "see the verbs allowed in the message") \
    X(BUSY, CONFLICT, true, "another operation on the same thing is running", "wait for it or cancel it") \
    X(EXISTS, CONFLICT, false, "a thing of this name exists already", "choose another name or use the existing one") \
    X(IN_USE, CONFLICT, false, "the thing is still in use", "remove what uses it first") \
    X(SERVICE_DENIED, AUTH, false, "this user may not talk to the service", "become a member of the socket's group (usermod -aG blockferry NAME, then log in anew), or use root") \
    X(SERVICE_UNREACHABLE, TRANSIENT, true, "blockferryd does not answer on its socket", "start it (systemctl start blockferryd), or name its socket with --socket") \
    X(NO_SUCH_PLATFORM, NOT_FOUND, false, "no platform of this name is registered", "see blockferry platform list") \
    X(NO_SUCH_REPLICATION, NOT_FOUND, false, "no replication of this name exists", "see blockferry list") \
    X(NO_SUCH_POINT, NOT_FOUND, false, "the replication has no such point", "see blockferry points NAME") \
    X(POINT_NOT_OLDEST, CONFLICT, false, "the target launches only from the oldest point of a volume, and this is a newer one", "set policy keep_points to 1 and let a round run, or launch from the oldest point") \
    X(NO_SUCH_JOB, NOT_FOUND, false, "there is no such job", "see blockferry show NAME") \
    X(NO_SUCH_LEDGER_ENTRY, NOT_FOUND, false, "the ledger has no such entry", "see blockferry ledger --all") \
    X(ALREADY_REPLICATED, CONFLICT, false, "the machine already has a replication", "use that one, or remove it first") \
    X(CONFIRM_NEEDED, INPUT, false, "this step must be confirmed", "repeat with --yes") \
    X(HAND_OVER_UNFINISHED, CONFLICT, true, "the target has not let go of the launched machine in full; it can no longer be rolled back", "mend what the message names and confirm again; if the target refuses for good, look at the machine, then blockferry confirm NAME --force: what the message names is yours as it is, and its marks are yours to remove") \
    X(PRECHECK_BLOCKED, CONFLICT, false, "a precheck blocks this", "see blockferry check NAME; mend what it finds, or waive a finding (--waive)") \
    /* --- platforms --- */ \
    X(PLATFORM_UNREACHABLE, TRANSIENT, true, "the platform does not answer", "check address, port and the service there") \
    X(PLATFORM_AUTH, AUTH, false, "the platform refused the credentials", "correct user, password or key (blockferry platform set NAME)") \
    X(PLATFORM_PRIVILEGE, AUTH, false, "the platform's account lacks a privilege", "grant the privileges that the message names") \
    X(PLATFORM_ERROR, SYSTEM, true, "the platform reported an error", "see the evidence; retry when it is mended") \
    X(PLATFORM_UNSUPPORTED, UNSUPPORTED, false, "the platform or its version cannot do this", "see docs/platforms for what is needed") \
    X(PLATFORM_TYPE, INPUT, false, "no connector of this type is built in", "see blockferry platform add --help for the types") \
    X(NO_SUCH_MACHINE, NOT_FOUND, false, "the platform has no such machine", "see blockferry machine list PLATFORM") \
    X(MACHINE_GONE, NOT_FOUND, false, "the machine disappeared from its platform", "restore the machine, or cut over from the last point and remove the replication") \
    X(MACHINE_STATE, CONFLICT, true, "the machine's power state does not allow this", "bring the machine into the state the message names") \
    X(SNAPSHOT_FAILED, SYSTEM, true, "the platform could not take the snapshot", "see the evidence; free space or end other backup jobs of this machine") \
    X(QUIESCE_FAILED, SYSTEM, true, "the guest agent could not freeze the file systems", "repair the guest agent or set quiesce to try or off") \
    X(FOREIGN_BACKUP, CONFLICT, true, "another tool's backup or block job runs on this machine", "wait for its end") \
    X(BASELINE_LOST, DATA, true, "the baseline cannot be used any more", "nothing: the next round is a full one") \
    X(DISK_CHANGED, DATA, true, "a disk of the machine was changed, added or removed", "see blockferry check NAME; the next round copies what is needed") \
    X(DISK_UNSUPPORTED, UNSUPPORTED, false, "a disk of the machine cannot be replicated", "see blockferry check NAME") \
    X(SHUTDOWN_REFUSED, TRANSIENT, true, "the guest did not shut down in time", "shut it down inside, or set the policy to power off") \
    X(SOURCE_RUNNING, CONFLICT, true, "the source machine was started during its cutover", "find out who starts it (an admin, autostart, high availability), then cut over again") \
    X(TARGET_FULL, CAPACITY, true, "the target has no space left", "free space or grow the pool; the round continues by retry") \
    X(QUOTA, CAPACITY, true, "a quota of the target is used up", "raise the quota that the message names") \
    X(VOLUME_GONE, NOT_FOUND, false, "a volume of the replication is missing on the target", "restore it, or remove the replication and seed again") \
    X(NO_SUCH_NETWORK, INPUT, false, "the target has no such network", "correct the network map; blockferry platform resources NAME lists them") \
    X(NO_SUCH_STORAGE, INPUT, false, "the target has no such storage", "correct the storage in the mapping; blockferry platform resources NAME lists them") \
    X(LAUNCH_FAILED, SYSTEM, true, "the machine could not be started on the target", "see the evidence; roll back or launch again") \
    X(LAUNCH_RUNNING, CONFLICT, true, "the launched machine could not be removed and may run", "see that the target answers, then roll back: that removes the machine and starts the source") \
    X(LAUNCH_NOT_BOOTED, SYSTEM, true, "the launched machine did not show that it booted", "look at its console; roll back or raise the boot deadline") \
    X(ISOLATION, INPUT, false, "a drill needs an isolated network", "name one with --network or in the mapping") \
    X(SOURCE_FULL, CAPACITY, true, "all connections that may read from the source's host are in use", "wait for other rounds to end, or allow more of them by the platform's options (docs/platforms)") \
    X(MOVER_FULL, CAPACITY, true, "all slots of the mover are in use", "wait for other rounds to end, or add a mover") \
    X(MOVER_NOT_SERVING, TRANSIENT, true, "the mover does not serve a disk that was attached to it", "look at the mover's console, its address and the certificates of its image (docs/mover.md)") \
    /* --- data plane --- */ \
    X(URI, INPUT, false, "an endpoint URI is malformed", "see blockferry-copy(1) for the forms") \
    X(ENDPOINT_OPEN, TRANSIENT, true, "an endpoint cannot be opened", "check that its server or file is there") \
    X(ENDPOINT_SIZE, INPUT, false, "the target is smaller than the source", "grow the volume") \
    X(ENDPOINT_READONLY, INPUT, false, "the target cannot be written", "open it writable") \
    X(READ_ERROR, DATA, true, "a range of the source cannot be read", "mend the source's storage; the message names the range") \
    X(WRITE_ERROR, SYSTEM, true, "a range of the target cannot be written", "mend the target's storage; the message names the range") \
    X(CHANGE_MAP, DATA, true, "the change map is malformed or missing", "nothing: a full compare follows") \
    X(NO_BITMAP, NOT_FOUND, true, "the endpoint offers no dirty bitmap of this name", "check the bitmap's name; a full round needs none") \
    X(JOURNAL, DATA, false, "the journal belongs to another copy or is damaged", "remove it to start again from the beginning") \
    X(IDENTITY, DATA, false, "what is read is not the disk of the last point, or its change map is not true", "find out whether another disk was attached or the change map missed writes; when it is the right disk, run a compare round (blockferry sync NAME --compare)") \
    X(VERIFY_MISMATCH, DATA, true, "the target's bytes differ from what was written", "repair by a compare round; check the target's storage") \
    /* --- guest --- */ \
    X(CONVERT_FAILED, SYSTEM, true, "the guest could not be prepared for the target", "see the evidence; the replica is untouched and the launch can be repeated") \
    X(CONVERT_NO_DRIVERS, UNSUPPORTED, false, "no virtio drivers for this guest were found", "give a driver tree or ISO that holds drivers for this guest") \
    X(GUEST_UNKNOWN, UNSUPPORTED, false, "no operating system was recognised on the disks", "set conversion to none if the guest boots on virtio as it is") \
    X(GUEST_ENCRYPTED, UNSUPPORTED, false, "the guest's disk is encrypted", "unlock it inside the guest, or set conversion to none if the guest has virtio drivers") \
    X(GUEST_HIBERNATED, CONFLICT, true, "the guest is hibernated or was not shut down cleanly", "start it, switch off Fast Startup, shut it down fully") \
    X(GUEST_TIMEOUT, TRANSIENT, true, "the guest's disks could not be read or changed within the time allowed", "see the evidence; check that the storage below answers, and that the guest's file systems are sound") \
    X(GUEST_DAMAGED, DATA, true, "a file system of the guest is damaged", "repair it in the guest (fsck, xfs_repair, chkdsk), let a round run and launch again; the replica is untouched") \
    X(GUEST_INITRAMFS, UNSUPPORTED, true, "an initramfs of the guest cannot be read", "make it anew in the guest (update-initramfs -u -k all, dracut -f --regenerate-all), let a round run and launch again; or set conversion to v2v") \
    X(GUEST_REGISTRY, DATA, false, "the registry of the guest cannot be read", "start the guest and let it mend its system disk (chkdsk, sfc), then launch from a newer point") \
    X(GUEST_REGISTRY_DIRTY, CONFLICT, true, "the guest's registry was not written out: its newest changes are in its log files only", "launch from a point of the guest shut down (a cutover does) or of a quiesced snapshot") \
    X(GUEST_UNSUPPORTED, UNSUPPORTED, false, "the guest's operating system is not supported by the conversion", "set conversion to none if the guest has virtio drivers")
/* clang-format on */

// SPDX-License-Identifier: MIT
// The control channel: JSON-RPC 2.0, a message a line, over the machine's second serial port. docs/control.md is the
// reference; here are the limits and names that both ends share. Byte strings (console data) are JSON strings whose
// code points 0-255 are the bytes.
#ifndef ABI_CONTROL_H
#define ABI_CONTROL_H

#define TZ_CONTROL_LINE_MAX (64u << 10)   // a request, without its newline
#define TZ_CONTROL_REPLY_MAX (512u << 10) // a reply or notification: statistics of twice TZ_VMS_MAX VMs, ended ones included
#define TZ_CONTROL_DEPTH_MAX 16           // nested arrays and objects
#define TZ_CONSOLE_CHUNK 512              // console bytes in one notification

// JSON-RPC 2.0's error codes, then ours.
enum tz_control_error {
	TZ_RPC_PARSE = -32700,
	TZ_RPC_INVALID_REQUEST = -32600,
	TZ_RPC_NO_METHOD = -32601,
	TZ_RPC_INVALID_PARAMS = -32602,
	TZ_RPC_INTERNAL = -32603,
	TZ_RPC_NO_VM = -32000,     // no VM of that name
	TZ_RPC_STATE = -32001,     // the VM is not in a state that allows it
	TZ_RPC_NO_MEMORY = -32002, // out of memory or another resource
	TZ_RPC_UNSUPPORTED = -32003,
};

// Notifications of the hypervisor.
#define TZ_N_READY "ready"               // {"version":"..."}: the channel answers
#define TZ_N_CONSOLE "console"           // {"vm","data"}
#define TZ_N_VM_CREATED "vm_created"     // {"vm","id"}: by the method `create`
#define TZ_N_VM_ENDED "vm_ended"         // {"vm","reason","how","value"}
#define TZ_N_VM_RESTARTED "vm_restarted" // {"vm","reason","how"}
#define TZ_N_VM_PRESERVED "vm_preserved" // the same: it has ended and is kept; vm_ended comes when it is destroyed
#define TZ_N_PANIC "panic"               // {"text"}: the hypervisor died; its report is on the log port
#define TZ_N_FINAL "final"               // statistics; nothing follows

// How a VM ended.
#define TZ_END_POWEROFF "poweroff"
#define TZ_END_RESET "reset"
#define TZ_END_CRASH "crash"
#define TZ_END_DESTROYED "destroyed"
#define TZ_END_DEBUG_EXIT "debug_exit"

#endif

// Package daemon is the process behind a mount: how a command starts it, how it serves, and how commands reach it and
// wait for its end.
//
//	varve mount (the parent)               daemon                              kernel
//	  │ runs this program again ───────────▶ │ opens the image
//	  │                                      │ mounts ──────────────────────────▶ │
//	  │                                      │ opens life and control sockets     │
//	  │ ◀── ready pipe: notices, then the ── │                                    │
//	  │     mount, or an error with its code │                                    │
//	  │ stat(2) of the mount point ──────────┼──────────────────────────────────▶ │
//	  │ ◀────────────────────────────────────┼── answered by the daemon ───────── │
//	  ▼ exits                                │
//	varve stats ──── control socket ───────▶ │ one JSON document
//	varve umount ─── life socket ──────────▶ │ "serving"
//	  │ umount(2) ───────────────────────────┼──────────────────────────────────▶ │
//	  │                                      │ ◀──────────── the mount is gone ── ▼
//	  │                                      │ writes what is left, releases the image
//	  │ ◀── "done" or an error; then closed ─ ▼ exits
//	  ▼ exits
//
// Rules:
//
//  1. The parent returns when the mount has answered a question of the parent's own, or with the error and the exit
//     code that the daemon reported.
//  2. The daemon writes to the ready pipe until it has mounted or failed, and then closes it. Nothing else that the
//     parent gave to the daemon stays open: a program that reads the parent's output does not wait for the mount.
//  3. The life socket is open before the first request is answered, and until the process ends. A command that unmounts
//     connects before it calls umount(2), and waits until the socket is closed: umount(2) returns earlier.
//  4. The last line on a life socket is written when the image is released: "done", or the error. A daemon that was
//     killed writes none.
//  5. A command believes sockets of the user who mounted and of root only, and the control socket answers its own user
//     and root only. The folder of the control sockets is no link, belongs to the user, and has mode 0700.
//  6. A daemon removes its own control socket and its own line in libmount's table, and no other daemon's.
//
// The kernel may give a mount's device number to a new mount while the old daemon is about to end. So there may be two
// life sockets of one number, and umount waits for both.
package daemon

// Package pkg is the map of the code. It holds nothing but this text and the
// test that keeps it true.
//
// Four layers; a package imports packages of lower layers only, and two
// packages of one layer do not know each other, but for the words:
//
//	words      api          what our processes say to each other, as JSON
//	           atomicfile   files that survive a power cut
//	           config       arasul.toml, strict
//	           spool        records on disk until somebody has taken them
//	           stable       the disk as an update uses it, and what a power cut leaves
//	           stream       one producer, many listeners
//	           version      which build this is
//
//	edges      acme         a certificate from Let's Encrypt, and its renewal
//	           bus          D-Bus; below it Healer1 and Gpu1, both ends of each
//	           client       HTTP over unix sockets
//	           daemon       the life of a process under systemd
//	           disk         room on the file system, and a reserve
//	           host         /proc and /sys
//	           issue        what screens show above the login prompt
//	           jetson       the GPU of a Jetson, in sysfs
//	           journal      the systemd journal: read and followed
//	           kernel       the kernel's log and its alarms
//	           mdns         avahi, or zeroconf without it
//	           nvml         GPUs through NVIDIA's library
//	           ollama       the models in Ollama: seen, unloaded, loaded again
//	           probe        one look at a service over HTTP
//	           secrets      keys that only root can read: made, and never again
//	           systemd      units over D-Bus: seen and moved
//	           usb          a USB stick: mount, scan, log
//
//	decisions  auth         who may come in
//	           certs        this machine's own authority and certificate, and when to make them anew
//	           gpu          what the state of the GPUs means, and what may be done to them
//	           heal         what to do about units that fail
//	           logs         which part of the journal may be read, and the files beside it
//	           metrics      when to sample, what to keep until it is stored
//	           proxy        who may ask for what, and what to say meanwhile
//	           update       from one release to the next, or not at all
//
//	surfaces   cli          the command line
//	           dashboard    the HTTP API and the page
//	           postgres     the database, from both sides
//
// Words may import words that stand before them. Edges and decisions import
// words only: a decision that needs something done declares an interface of
// one to three methods, and cmd introduces it to the edge that can do it, in one
// wiring file per daemon. Surfaces import words and decisions.
// Nothing imports cmd.
package pkg

// Package pkg is the map of the code. It holds nothing but this text and the
// test that keeps it true.
//
// Four layers; a package imports packages of lower layers only, and two
// packages of one layer do not know each other, but for the words:
//
//	words      api          what our processes say to each other, as JSON
//	           atomicfile   files that survive a power cut
//	           bundle       the format of a release: read, judged, written
//	           command      the frame of a command line, and its exit codes
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
//	           dpkg         the package that we are: kept, and another put in its place
//	           host         /proc and /sys
//	           issue        what screens show above the login prompt
//	           jetson       the GPU of a Jetson, in sysfs
//	           journal      the systemd journal: read and followed
//	           kernel       the kernel's log and its alarms
//	           load         much at once, measured
//	           mdns         avahi, or zeroconf without it
//	           models       the folder of an Ollama's models: brought, and read whole
//	           modelserver  a server of models: asked, and passed on to
//	           n8n          its owner signed in, and what workflows need
//	           nvml         GPUs through NVIDIA's library
//	           objects      buckets, who may use them, and whether they do their work
//	           ollama       the models in Ollama: seen, unloaded, loaded again
//	           podman       which images there are, and bringing them
//	           probe        one look at a service over HTTP
//	           secrets      keys that only root can read: made, and never again
//	           support      what somebody who helps from afar has to see, without secrets
//	           systemd      units over D-Bus: seen and moved
//	           usb          a USB stick: mount, scan, log
//
//	decisions  auth         who may come in
//	           bootstrap    step by step to a machine that is ready, and what is wrong with one
//	           certs        this machine's own authority and certificate, and when to make them anew
//	           container    how the applications are run, and from which image
//	           gpu          what the state of the GPUs means, and what may be done to them
//	           heal         what to do about units that fail
//	           inference    who may ask the models when, and which server answers
//	           logs         which part of the journal may be read, and the files beside it
//	           metrics      when to sample, what to keep until it is stored
//	           proxy        who may ask for what, and what to say meanwhile
//	           setup        what the owner is asked once
//	           update       from one release to the next, or not at all
//
//	surfaces   araupdate    the command line of those who make releases
//	           cli          the command line
//	           dashboard    the HTTP API and the page
//	           postgres     the database, from both sides
//
// Words may import words that stand before them. Edges and decisions import
// words only: a decision that needs something done declares an interface of
// one to three methods, and cmd introduces it to the edge that can do it, in one
// wiring file per daemon. Surfaces import words and decisions.
// Nothing imports cmd.
package pkg

package api

import "time"

// Network is how the machine is connected, as far as it can tell without
// asking anybody.
type Network struct {
	Interfaces   []Interface `json:"interfaces" doc:"Those that lead out of the machine, and have an address or are up"`
	MDNSName     string      `json:"mdns_name,omitempty" example:"arasul.local" doc:"The name that is announced now; absent while none is"`
	MDNS         string      `json:"mdns" example:"announced as arasul.local through avahi on eth0" doc:"How far announcing has come, in words"`
	DefaultRoute bool        `json:"default_route" doc:"There is a way out of the local network"`
	DNS          bool        `json:"dns" doc:"There is a name server to ask"`
	Internet     bool        `json:"internet" doc:"Both of them: the internet can be there. Nobody was asked whether it is"`
	Time         time.Time   `json:"timestamp"`
}

// Interface is one way out.
type Interface struct {
	Name      string   `json:"name" example:"eth0"`
	Up        bool     `json:"up" doc:"It is switched on, and has a carrier"`
	Addresses []string `json:"addresses" example:"[\"192.168.1.20/24\"]" doc:"With the length of their network's prefix; link-local ones last"`
}

package opsmanager

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// automationConfig is the little that is needed of it.
// https://www.mongodb.com/docs/ops-manager/v7.0/reference/api/automation-config/
type automationConfig struct {
	Processes   []process        `json:"processes"`
	ReplicaSets []replicaSet     `json:"replicaSets"`
	Sharding    []shardedCluster `json:"sharding"`
	Version     loose            `json:"version"`
}

type process struct {
	Name        string `json:"name"`
	ProcessType string `json:"processType"`
	Hostname    string `json:"hostname"`
	FCV         string `json:"featureCompatibilityVersion"`
	Disabled    loose  `json:"disabled"`
	ManualMode  loose  `json:"manualMode"`
	Args        args   `json:"args2_6"`
	// Rotated is when the agents turned the KMIP master key last, as Ops Manager knows it.
	Rotated loose `json:"lastKmipMasterKeyRotation"`
}

// args are the settings of a mongod that tell where its master key comes from. Ops Manager does not
// validate them, so that anything can be there.
type args struct {
	Encryption    loose // security.enableEncryption
	KMIP          loose // security.kmip
	KeyIdentifier loose // security.kmip.keyIdentifier
	Port          loose // net.port
}

// UnmarshalJSON reads what scan does. What is not where it should be is not there.
func (a *args) UnmarshalJSON(b []byte) error {
	var object struct {
		Net struct {
			Port loose `json:"port"`
		} `json:"net"`
		Security struct {
			Encryption loose `json:"enableEncryption"`
			KMIP       loose `json:"kmip"`
		} `json:"security"`
	}
	var kmip struct {
		KeyIdentifier loose `json:"keyIdentifier"`
	}
	*a = args{}
	if json.Unmarshal(b, &object) != nil {
		return nil //nolint:nilerr // see above
	}
	*a = args{Encryption: object.Security.Encryption, KMIP: object.Security.KMIP, Port: object.Net.Port}
	if json.Unmarshal([]byte(a.KMIP), &kmip) == nil {
		a.KeyIdentifier = kmip.KeyIdentifier
	}
	return nil
}

// loose is a value as it was written: JSON of any kind; empty: there is none.
type loose string

// UnmarshalJSON keeps the text.
func (l *loose) UnmarshalJSON(b []byte) error {
	*l = loose(bytes.TrimSpace(b))
	return nil
}

// set reports a value that is not null, empty or false.
func (l loose) set() bool {
	switch l {
	case "", "null", `""`, "false", "{}", "0":
		return false
	default:
		return true
	}
}

// yes reports true, also one in quotes.
func (l loose) yes() bool { return l == "true" || l == `"true"` }

// object reports an object that holds something.
func (l loose) object() bool {
	return strings.HasPrefix(string(l), "{") && strings.TrimSpace(strings.Trim(string(l), "{}")) != ""
}

// text returns a string's text; ok is false for what is no string.
func (l loose) text() (text string, ok bool) {
	if l == "" || l[0] != '"' {
		return "", false
	}
	return text, json.Unmarshal([]byte(l), &text) == nil
}

// number returns a whole number; 0: it is none.
func (l loose) number() int64 {
	n, err := strconv.ParseInt(strings.Trim(string(l), `"`), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

type replicaSet struct {
	ID      string   `json:"_id"`
	Members []member `json:"members"`
}

type member struct {
	Host    string `json:"host"` // the name of a process
	Arbiter loose  `json:"arbiterOnly"`
}

type shardedCluster struct {
	Name         string  `json:"name"`
	ConfigServer string  `json:"configServerReplica"`
	Shards       []shard `json:"shards"`
}

type shard struct {
	ReplicaSet string `json:"rs"` // and not _id, which need not be the replica set's name
}

func (p *process) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "name":
			s.string(&p.Name)
		case "processType":
			s.string(&p.ProcessType)
		case "hostname":
			s.string(&p.Hostname)
		case "featureCompatibilityVersion":
			s.string(&p.FCV)
		case "disabled":
			s.loose(&p.Disabled)
		case "manualMode":
			s.loose(&p.ManualMode)
		case "lastKmipMasterKeyRotation":
			s.loose(&p.Rotated)
		case "args2_6":
			s.within(p.Args.scan)
		default:
			s.skip()
		}
	}
}

func (a *args) scan(s *scanner, name string) {
	switch name {
	case "net":
		s.within(func(s *scanner, name string) {
			if name == "port" {
				s.loose(&a.Port)
			} else {
				s.skip()
			}
		})
	case "security":
		s.within(a.scanSecurity)
	default:
		s.skip()
	}
}

func (a *args) scanSecurity(s *scanner, name string) {
	switch name {
	case "enableEncryption":
		s.loose(&a.Encryption)
	case "kmip":
		start := *s
		s.loose(&a.KMIP)
		end := *s
		*s = start
		s.within(func(s *scanner, name string) {
			if name == "keyIdentifier" {
				s.loose(&a.KeyIdentifier)
			} else {
				s.skip()
			}
		})
		*s = end
	default:
		s.skip()
	}
}

func (rs *replicaSet) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "_id":
			s.string(&rs.ID)
		case "members":
			rs.Members = scanMore(s, rs.Members)
		default:
			s.skip()
		}
	}
}

func (m *member) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "host":
			s.string(&m.Host)
		case "arbiterOnly":
			s.loose(&m.Arbiter)
		default:
			s.skip()
		}
	}
}

func (sc *shardedCluster) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "name":
			s.string(&sc.Name)
		case "configServerReplica":
			s.string(&sc.ConfigServer)
		case "shards":
			sc.Shards = scanMore(s, sc.Shards)
		default:
			s.skip()
		}
	}
}

func (sh *shard) scan(s *scanner) {
	s.object(func(name string) *string {
		if name == "rs" {
			return &sh.ReplicaSet
		}
		return nil
	})
}

package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn"
)

// Encode writes resources as YAML documents that can be applied again.
func Encode(w io.Writer, resources []keyturn.Resource) error {
	for i, r := range resources {
		spec, err := specNode(r.Spec)
		if err != nil {
			return fmt.Errorf("writing %s %s: %w", r.Kind, r.Name, err)
		}
		doc := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range []struct{ name, value string }{{"apiVersion", APIVersion}, {"kind", string(r.Kind)}, {"name", r.Name}} {
			doc.Content = append(doc.Content, scalarNode("!!str", f.name), scalarNode("!!str", f.value))
		}
		doc.Content = append(doc.Content, scalarNode("!!str", "spec"), spec)
		text, err := encodeNode(doc)
		if err != nil {
			return fmt.Errorf("writing %s %s: %w", r.Kind, r.Name, err)
		}
		if i > 0 {
			text = "---\n" + text
		}
		if _, err := io.WriteString(w, text); err != nil {
			return fmt.Errorf("writing %s %s: %w", r.Kind, r.Name, err)
		}
	}
	return nil
}

// specNode turns a spec's JSON into YAML with the fields in the order of the documentation.
func specNode(spec json.RawMessage) (*yaml.Node, error) {
	value, err := decodeJSON(spec)
	if err != nil {
		return nil, err
	}
	return valueNode(value), nil
}

func decodeJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	return value, nil
}

// canonical writes JSON in the one form that marshal has: a database may have changed it.
func canonical(spec json.RawMessage) (string, error) {
	value, err := decodeJSON(spec)
	if err != nil {
		return "", err
	}
	text, err := marshal(value)
	return string(text), err
}

func valueNode(value any) *yaml.Node {
	switch v := value.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range slices.SortedFunc(maps.Keys(v), byDocumentation) {
			n.Content = append(n.Content, scalarNode("!!str", name), valueNode(v[name]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, e := range v {
			n.Content = append(n.Content, valueNode(e))
		}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		return n
	case string:
		return scalarNode("!!str", v)
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalarNode("!!float", v.String())
		}
		return scalarNode("!!int", v.String())
	case bool:
		return scalarNode("!!bool", fmt.Sprint(v))
	default:
		return scalarNode("!!null", "null")
	}
}

func scalarNode(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// byDocumentation orders fields as the documentation does, unknown ones last by name.
func byDocumentation(a, b string) int {
	order := []string{
		"target", "select", "projects", "clusters", "components", "units", "uncertain", "schedule", "cron", "timezone",
		"system", "api", "url", "source", "secret", "previousSecret", "format", "events", "headers", "fallback", "email", "from", "to", "user", "password",
		"match", "policy", "alertOnly", "narrow", "kinds", "policies", "targets", "subjects", "startsAt", "endsAt", "reason",
		"credentials", "publicKey", "privateKey", "clientId", "clientSecret",
		"limits", "concurrency", "requestsPerSecond", "timeouts", "request", "settle", "verify", "complete", "observe", "tls", "caFile",
		"kms", "aws", "azure", "gcp", "strategy", "accessKeyId", "secretAccessKey", "sessionToken", "roleArn", "tenantId", "credentialsJson",
		"endpoint", "authority", "alias", "tags", "kmip", "address", "certFile", "keyFile", "serverName", "namePattern", "every",
		"rollout", "canary", "batch", "maxFailures", "order", "pauseBetween",
		"alerts", "warnAfter", "criticalAfter", "dueSoon", "repeat",
	}
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

func encodeNode(n *yaml.Node) (string, error) {
	var b strings.Builder
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return "", fmt.Errorf("writing YAML: %w", err)
	}
	if err := e.Close(); err != nil {
		return "", fmt.Errorf("writing YAML: %w", err)
	}
	return b.String(), nil
}

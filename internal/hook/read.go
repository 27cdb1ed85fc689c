package hook

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/keyturn/keyturn"
)

// Event is one thing that a call tells.
type Event struct {
	// ID names the event and the state in which it is: what comes again under it is a repeat.
	ID string
	// Alert names what it is about: all its events ask for one rotation at most.
	Alert string
	// End is the ID that the end of Alert comes under. What has ended does not begin again: the sender then makes
	// another Alert. Empty: it may begin again, or has no end.
	End     string
	At      time.Time // when the sender changed it last; zero: it does not say
	Type    string
	Status  string // as the sender writes it; empty: it has none
	Open    bool   // it tells of something to be done
	Over    bool   // it tells of the end of something
	Project string // the id of the project that it names; empty: none
	Cluster string // the name of the cluster; empty: none
	Labels  map[string]string
	Message string
	Raw     []byte
}

// maxID bounds ids that come from outside.
const maxID = 120

// Read reads the events of a verified call. An error says what is wrong with the body.
func Read(source keyturn.HookSource, header http.Header, body []byte) ([]Event, error) {
	var events []Event
	var err error
	switch {
	case source.MongoDB():
		events, err = readMongoDB(body)
	case source == keyturn.SourceEventGrid:
		events, err = readEventGrid(body)
	case source == keyturn.SourceEventBridge:
		events, err = readEventBridge(body)
	case source == keyturn.SourceAlertmanager:
		events, err = readAlertmanager(body)
	default:
		events, err = readStandard(header, body)
	}
	if err != nil {
		return nil, err
	}
	for i := range events {
		if events[i].Alert == "" || events[i].Type == "" {
			return nil, errors.New("an event has no id or no type")
		}
		events[i].Alert, events[i].ID, events[i].End = bounded(events[i].Alert), bounded(events[i].ID), bounded(events[i].End)
		// One event that no database can keep must not hinder those that come with it.
		events[i].Project, events[i].Cluster = keyturn.MakeStorable(events[i].Project), keyturn.MakeStorable(events[i].Cluster)
	}
	return events, nil
}

func bounded(id string) string {
	if len(id) <= maxID && keyturn.Storable(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return errors.New("the body is not the JSON that this source sends")
	}
	return nil
}

// readMongoDB reads the alert resource of Atlas, Cloud Manager and Ops Manager:
// https://www.mongodb.com/docs/ops-manager/current/reference/api/alerts-get-alert/
func readMongoDB(body []byte) ([]Event, error) {
	var alert struct {
		ID             string `json:"id"`
		GroupID        string `json:"groupId"`
		EventTypeName  string `json:"eventTypeName"`
		Status         string `json:"status"`
		Created        string `json:"created"`
		Updated        string `json:"updated"`
		ClusterName    string `json:"clusterName"`
		ReplicaSetName string `json:"replicaSetName"`
		Hostname       string `json:"hostnameAndPort"`
		MetricName     string `json:"metricName"`
		HumanReadable  string `json:"humanReadable"`
	}
	if err := decode(body, &alert); err != nil {
		return nil, err
	}
	e := Event{
		ID: alert.ID + ":" + alert.Status + ":" + alert.Updated, Alert: alert.ID, Type: alert.EventTypeName, Status: alert.Status,
		Project: alert.GroupID, Cluster: alert.ClusterName, Raw: body, Message: alert.HumanReadable,
		Labels: map[string]string{
			"groupId": alert.GroupID, "clusterName": alert.ClusterName, "replicaSetName": alert.ReplicaSetName,
			"hostnameAndPort": alert.Hostname, "metricName": alert.MetricName,
		},
	}
	e.Open = strings.EqualFold(alert.Status, "OPEN") || strings.EqualFold(alert.Status, "INFORMATIONAL")
	e.Over = strings.EqualFold(alert.Status, "CLOSED") || strings.EqualFold(alert.Status, "CANCELLED") // not TRACKING: it may come back
	if e.End = alert.ID + ":over"; e.Over {
		e.ID = e.End
	}
	for _, text := range []string{alert.Created, alert.Updated} {
		if at, err := time.Parse(time.RFC3339, text); err == nil && at.After(e.At) {
			e.At = at
		}
	}
	return []Event{e}, nil
}

// list reads one JSON object or an array of them.
func list(body []byte) ([]json.RawMessage, error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		var items []json.RawMessage
		return items, decode(body, &items)
	}
	return []json.RawMessage{body}, nil
}

// gridEvent is an event of Azure Event Grid, in its own schema or as a CloudEvent:
// https://learn.microsoft.com/en-us/azure/event-grid/event-schema-key-vault
type gridEvent struct {
	ID        string `json:"id"`
	Topic     string `json:"topic"`
	Source    string `json:"source"`
	Subject   string `json:"subject"`
	EventType string `json:"eventType"`
	Type      string `json:"type"`
	Data      struct {
		VaultName      string `json:"VaultName"`
		ObjectType     string `json:"ObjectType"`
		ObjectName     string `json:"ObjectName"`
		Version        string `json:"Version"`
		ValidationCode string `json:"validationCode"`
	} `json:"data"`
}

func readEventGrid(body []byte) ([]Event, error) {
	items, err := list(body)
	if err != nil {
		return nil, err
	}
	events := make([]Event, 0, len(items))
	for _, item := range items {
		var g gridEvent
		if err := decode(item, &g); err != nil {
			return nil, err
		}
		kind := cmp.Or(g.EventType, g.Type)
		events = append(events, Event{
			ID: g.ID, Alert: g.ID, Type: kind, Open: true, Raw: item,
			Message: fmt.Sprintf("%s: %s %s of %s", kind, g.Data.ObjectType, g.Data.ObjectName, g.Data.VaultName),
			Labels: map[string]string{
				"topic": g.Topic, "source": g.Source, "subject": g.Subject, "vault": g.Data.VaultName, "name": g.Data.ObjectName,
				"objectType": g.Data.ObjectType, "version": g.Data.Version,
			},
		})
	}
	return events, nil
}

// Handshake returns the code that Event Grid wants to have repeated before it sends anything:
// https://learn.microsoft.com/en-us/azure/event-grid/end-point-validation-event-grid-events-schema
func Handshake(source keyturn.HookSource, body []byte) (code string, ok bool) {
	if source != keyturn.SourceEventGrid {
		return "", false
	}
	items, err := list(body)
	if err != nil || len(items) != 1 {
		return "", false
	}
	var g gridEvent
	if decode(items[0], &g) != nil || g.EventType != "Microsoft.EventGrid.SubscriptionValidationEvent" || g.Data.ValidationCode == "" {
		return "", false
	}
	return g.Data.ValidationCode, true
}

// readEventBridge reads an event as EventBridge has it:
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
func readEventBridge(body []byte) ([]Event, error) {
	var b struct {
		ID         string         `json:"id"`
		DetailType string         `json:"detail-type"`
		Source     string         `json:"source"`
		Account    string         `json:"account"`
		Region     string         `json:"region"`
		Resources  []string       `json:"resources"`
		Detail     map[string]any `json:"detail"`
	}
	if err := decode(body, &b); err != nil {
		return nil, err
	}
	labels := map[string]string{"source": b.Source, "account": b.Account, "region": b.Region}
	if len(b.Resources) > 0 {
		labels["resource"] = b.Resources[0]
	}
	if key, ok := b.Detail["key-id"].(string); ok {
		labels["key-id"] = key
	}
	return []Event{{
		ID: b.ID, Alert: b.ID, Type: b.DetailType, Open: true, Labels: labels, Raw: body,
		Message: strings.TrimSpace(b.DetailType + " " + strings.Join(b.Resources, " ")),
	}}, nil
}

// readAlertmanager reads what Alertmanager's webhook receiver is sent:
// https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
func readAlertmanager(body []byte) ([]Event, error) {
	var m struct {
		Alerts []json.RawMessage `json:"alerts"`
	}
	if err := decode(body, &m); err != nil {
		return nil, err
	}
	if m.Alerts == nil {
		return nil, errors.New("the body has no alerts")
	}
	events := make([]Event, 0, len(m.Alerts))
	for _, raw := range m.Alerts {
		var a struct {
			Status      string            `json:"status"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
			StartsAt    time.Time         `json:"startsAt"`
			Fingerprint string            `json:"fingerprint"`
		}
		if err := decode(raw, &a); err != nil {
			return nil, err
		}
		if a.Fingerprint == "" {
			continue // it could not be recognised again
		}
		alert := a.Fingerprint + "@" + a.StartsAt.UTC().Format(time.RFC3339)
		events = append(events, Event{
			ID: alert + ":" + a.Status, Alert: alert, End: alert + ":resolved", Type: a.Labels["alertname"], Status: a.Status, Open: a.Status == "firing", Over: a.Status == "resolved",
			Project: pick(a.Labels, "project_id", "projectId", "group_id", "groupId", "project"),
			Cluster: pick(a.Labels, "cluster_name", "clusterName", "cl_name", "cluster"),
			Labels:  a.Labels, Raw: raw, Message: cmp.Or(a.Annotations["summary"], a.Annotations["description"], a.Labels["alertname"]),
		})
	}
	return events, nil
}

func pick(labels map[string]string, names ...string) string {
	for _, name := range names {
		if labels[name] != "" {
			return labels[name]
		}
	}
	return ""
}

// readStandard reads a Standard Webhook: its type, and what its data says by the usual names. The id is
// the signed one of the header.
func readStandard(header http.Header, body []byte) ([]Event, error) {
	var m struct {
		Type string         `json:"type"`
		Data map[string]any `json:"data"`
	}
	if err := decode(body, &m); err != nil {
		return nil, err
	}
	labels := map[string]string{}
	for name, value := range m.Data {
		switch v := value.(type) {
		case string:
			labels[name] = v
		case bool, float64:
			labels[name] = fmt.Sprint(v)
		}
	}
	id := header.Get(standardwebhooks.HeaderWebhookID)
	status := labels["status"]
	over := strings.EqualFold(status, "closed") || strings.EqualFold(status, "resolved")
	return []Event{{
		ID: id, Alert: cmp.Or(pick(labels, "alertId", "alert_id"), id), Type: m.Type, Status: status, Labels: labels, Raw: body,
		Open: !over, Over: over,
		Project: pick(labels, "projectId", "project_id", "groupId", "group_id", "project"),
		Cluster: pick(labels, "clusterName", "cluster_name", "cluster"), Message: cmp.Or(labels["message"], m.Type),
	}}, nil
}

package aws

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// execute does what an operation does.
func (k *KMS) execute(region, operation string, in map[string]any) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch operation {
	case "CreateKey":
		return k.createKey(region, in)
	case "ListKeys":
		return k.listKeys(region, in), nil
	case "ListAliases":
		return k.listAliases(region, in), nil
	case "CreateAlias", "UpdateAlias", "DeleteAlias":
		return k.alias(region, operation, in)
	}
	key := k.find(region, text(in, "KeyId"))
	if key == nil {
		return nil, refuse("NotFoundException", "Key '%s' does not exist", text(in, "KeyId"))
	}
	switch operation {
	case "DescribeKey":
		return map[string]any{"KeyMetadata": k.metadata(key)}, nil
	case "GetKeyPolicy":
		return map[string]any{"Policy": key.Policy, "PolicyName": "default"}, nil
	case "PutKeyPolicy":
		key.Policy = text(in, "Policy")
	case "ListResourceTags":
		return map[string]any{"Tags": k.tags(key), "Truncated": false}, nil
	case "TagResource":
		maps.Copy(key.Tags, readTags(in))
	case "EnableKey", "DisableKey":
		if key.State == "PendingDeletion" {
			return nil, refuse("KMSInvalidStateException", "%s is pending deletion.", key.ARN)
		}
		key.State = strings.TrimSuffix(operation, "Key") + "d"
	case "ScheduleKeyDeletion":
		key.State = "PendingDeletion"
		return map[string]any{"KeyId": key.ARN, "KeyState": key.State}, nil
	case "RotateKeyOnDemand":
		return k.rotate(key)
	case "GetKeyRotationStatus":
		return k.rotationStatus(key), nil
	case "ListKeyRotations":
		return k.rotations(key), nil
	default:
		return nil, refuse("UnknownOperationException", "%s", operation)
	}
	return map[string]any{}, nil
}

func text(in map[string]any, name string) string {
	s, _ := in[name].(string)
	return s
}

func readTags(in map[string]any) map[string]string {
	tags := map[string]string{}
	list, _ := in["Tags"].([]any)
	for _, t := range list {
		if t, ok := t.(map[string]any); ok {
			tags[text(t, "TagKey")] = text(t, "TagValue")
		}
	}
	return tags
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (k *KMS) createKey(region string, in map[string]any) (any, error) {
	if policy := text(in, "Policy"); policy != "" && !strings.Contains(policy, k.cfg.Account) {
		return nil, refuse("MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.")
	}
	multi, _ := in["MultiRegion"].(bool)
	tags := readTags(in)
	if len(tags) > 50 {
		return nil, refuse("TagException", "Too many tags")
	}
	for name := range tags {
		if strings.HasPrefix(name, "aws:") {
			return nil, refuse("TagException", "aws: prefixed tag key names are not allowed for external use.")
		}
	}
	key := k.add(region, Key{
		Description: text(in, "Description"), Policy: text(in, "Policy"), Tags: tags, MultiRegion: multi,
		Spec: text(in, "KeySpec"), Usage: text(in, "KeyUsage"), Origin: text(in, "Origin"),
	})
	return map[string]any{"KeyMetadata": k.metadata(key)}, nil
}

func (k *KMS) metadata(key *Key) map[string]any {
	md := map[string]any{
		"AWSAccountId": k.cfg.Account, "KeyId": key.ID, "Arn": key.ARN, "CreationDate": seconds(key.CreatedAt),
		"Enabled": key.State == "Enabled", "Description": key.Description, "KeyUsage": key.Usage, "KeyState": key.State,
		"Origin": key.Origin, "KeyManager": key.Manager, "KeySpec": key.Spec, "CustomerMasterKeySpec": key.Spec,
		"EncryptionAlgorithms": []string{"SYMMETRIC_DEFAULT"}, "MultiRegion": key.MultiRegion,
		"CurrentKeyMaterialId": "material-of-" + key.ID,
	}
	for _, r := range key.Rotations {
		if !k.cfg.Now().Before(r.At) {
			md["CurrentKeyMaterialId"] = r.Material
		}
	}
	return md
}

// shown reports whether a key is in lists already.
func (k *KMS) shown(key *Key) bool {
	return !k.cfg.Now().Before(key.CreatedAt.Add(k.cfg.Propagation))
}

func (k *KMS) listKeys(region string, in map[string]any) any {
	var ids []*Key
	for _, key := range k.keys {
		if key.Region == region && k.shown(key) {
			ids = append(ids, key)
		}
	}
	limit, _ := in["Limit"].(float64)
	if limit == 0 {
		limit = 100
	}
	if most := float64(k.cfg.PageMost); most > 0 {
		limit = min(limit, most)
	}
	from, _ := strconv.Atoi(text(in, "Marker"))
	out := map[string]any{"Truncated": false}
	var page []map[string]any
	for i := from; i < len(ids); i++ {
		if len(page) == int(limit) {
			out["Truncated"], out["NextMarker"] = true, strconv.Itoa(i)
			break
		}
		page = append(page, map[string]any{"KeyId": ids[i].ID, "KeyArn": ids[i].ARN})
	}
	out["Keys"] = page
	return out
}

func (k *KMS) tags(key *Key) []map[string]string {
	out := []map[string]string{}
	if !k.shown(key) {
		return out
	}
	for _, name := range slices.Sorted(maps.Keys(key.Tags)) {
		out = append(out, map[string]string{"TagKey": name, "TagValue": key.Tags[name]})
	}
	return out
}

func (k *KMS) listAliases(region string, in map[string]any) any {
	out := []map[string]string{}
	id := ""
	if key := k.find(region, text(in, "KeyId")); key != nil {
		id = key.ID
	}
	for _, name := range slices.Sorted(maps.Keys(k.aliases)) {
		alias, ok := strings.CutPrefix(name, region+"/")
		if ok && (id == "" || k.aliases[name] == id) {
			out = append(out, map[string]string{"AliasName": alias, "AliasArn": "arn:aws:kms:" + region + ":" + k.cfg.Account + ":" + alias, "TargetKeyId": k.aliases[name]})
		}
	}
	return map[string]any{"Aliases": out, "Truncated": false}
}

func (k *KMS) alias(region, operation string, in map[string]any) (any, error) {
	name := region + "/" + text(in, "AliasName")
	_, exists := k.aliases[name]
	switch {
	case operation == "CreateAlias" && exists:
		return nil, refuse("AlreadyExistsException", "An alias with the name %s already exists", text(in, "AliasName"))
	case operation != "CreateAlias" && !exists:
		return nil, refuse("NotFoundException", "Alias %s is not found.", text(in, "AliasName"))
	case operation == "DeleteAlias":
		delete(k.aliases, name)
		return map[string]any{}, nil
	}
	key := k.find(region, text(in, "TargetKeyId"))
	if key == nil {
		return nil, refuse("NotFoundException", "Key '%s' does not exist", text(in, "TargetKeyId"))
	}
	k.aliases[name] = key.ID
	return map[string]any{}, nil
}

func (k *KMS) rotate(key *Key) (any, error) {
	now := k.cfg.Now()
	switch n := len(key.Rotations); {
	case key.State != "Enabled":
		return nil, refuse("DisabledException", "%s is disabled.", key.ARN)
	case n > 0 && now.Before(key.Rotations[n-1].At):
		return nil, refuse("ConflictException", "A rotation of the key is in progress.")
	case n >= 25:
		return nil, refuse("LimitExceededException", "You have reached the limit of on-demand rotations of the key.")
	}
	key.Rotations = append(key.Rotations, Rotation{At: now.Add(k.cfg.RotationTakes), Material: material()})
	return map[string]any{"KeyId": key.ARN}, nil
}

func (k *KMS) rotationStatus(key *Key) any {
	out := map[string]any{"KeyId": key.ARN, "KeyRotationEnabled": false}
	if n := len(key.Rotations); n > 0 && k.cfg.Now().Before(key.Rotations[n-1].At) {
		out["OnDemandRotationStartDate"] = seconds(key.Rotations[n-1].At.Add(-k.cfg.RotationTakes))
	}
	return out
}

func (k *KMS) rotations(key *Key) any {
	list := []map[string]any{}
	for _, r := range key.Rotations {
		if !k.cfg.Now().Before(r.At) {
			list = append(list, map[string]any{"KeyId": key.ARN, "KeyMaterialId": r.Material, "RotationDate": seconds(r.At), "RotationType": "ON_DEMAND"})
		}
	}
	return map[string]any{"Rotations": list, "Truncated": false}
}

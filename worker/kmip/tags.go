package kmip

// tag names an item: KMIP 1.4 section 9.1.3.1, KMIP 2.0 section 11.56.
type tag uint32

const (
	tagActivationDate     tag = 0x420001
	tagAttribute          tag = 0x420008
	tagAttributeName      tag = 0x42000A
	tagAttributeValue     tag = 0x42000B
	tagBatchContinuation  tag = 0x42000E
	tagBatchCount         tag = 0x42000D
	tagBatchItem          tag = 0x42000F
	tagCompromiseDate     tag = 0x420020
	tagDeactivationDate   tag = 0x42002F
	tagDestroyDate        tag = 0x420033
	tagInitialDate        tag = 0x420039
	tagMaximumItems       tag = 0x42004F
	tagName               tag = 0x420053
	tagNameType           tag = 0x420054
	tagNameValue          tag = 0x420055
	tagObjectType         tag = 0x420057
	tagOperation          tag = 0x42005C
	tagProtocolVersion    tag = 0x420069
	tagVersionMajor       tag = 0x42006A
	tagVersionMinor       tag = 0x42006B
	tagQueryFunction      tag = 0x420074
	tagRequestHeader      tag = 0x420077
	tagRequestMessage     tag = 0x420078
	tagRequestPayload     tag = 0x420079
	tagResponseHeader     tag = 0x42007A
	tagResponseMessage    tag = 0x42007B
	tagResponsePayload    tag = 0x42007C
	tagResultMessage      tag = 0x42007D
	tagResultReason       tag = 0x42007E
	tagResultStatus       tag = 0x42007F
	tagState              tag = 0x42008D
	tagTimeStamp          tag = 0x420092
	tagUniqueBatchItemID  tag = 0x420093
	tagUniqueID           tag = 0x420094
	tagVendor             tag = 0x42009D
	tagOffsetItems        tag = 0x4200D4
	tagAttributes         tag = 0x420125 // since 2.0
	tagAttributeReference tag = 0x42013B // since 2.0
)

// operation is what is asked for: KMIP 1.4 section 9.1.3.2.27. There is none here that changes anything
// or that returns key material.
type operation uint32

const (
	opLocate           operation = 8
	opGetAttributes    operation = 11
	opQuery            operation = 24
	opDiscoverVersions operation = 30
)

// reason is why an operation failed: KMIP 1.4 section 9.1.3.2.29.
type reason uint32

const (
	reasonItemNotFound        reason = 0x01
	reasonAuthentication      reason = 0x03
	reasonInvalidMessage      reason = 0x04
	reasonNotSupported        reason = 0x05
	reasonPermissionDenied    reason = 0x0C
	reasonObjectDestroyed     reason = 0x36 // since 2.0
	reasonObjectNotFound      reason = 0x37 // since 2.0
	reasonUnsupportedProtocol reason = 0x3F // since 2.0
)

const (
	statusSuccess     = 0 // section 9.1.3.2.28
	continueOnError   = uint32(1)
	objectSymmetric   = uint32(2)
	queryOperations   = uint32(1)
	queryServerInfo   = uint32(3)
	nameTypeTextValue = uint32(1)
)

// attributes are what is asked about a key, by the names of 1.x and by the tags of 2.0.
func attributes() []struct {
	name string
	tag  tag
} {
	return []struct {
		name string
		tag  tag
	}{
		{"State", tagState},
		{"Initial Date", tagInitialDate},
		{"Activation Date", tagActivationDate},
		{"Deactivation Date", tagDeactivationDate},
		{"Compromise Date", tagCompromiseDate},
		{"Destroy Date", tagDestroyDate},
		{"Name", tagName},
	}
}

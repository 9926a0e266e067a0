package rtmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// Object is an AMF0 object. It's written with its keys in sorted order, so that equal objects are
// equal bytes.
type Object map[string]any

// ECMAArray is an AMF0 associative array. Peers treat it like an object, but SRS sends the `data` of
// a connect result as one, so the difference is kept.
type ECMAArray map[string]any

// AMF0 markers.
const (
	amfNumber      = 0
	amfBoolean     = 1
	amfString      = 2
	amfObject      = 3
	amfNull        = 5
	amfUndefined   = 6
	amfReference   = 7
	amfECMAArray   = 8
	amfObjectEnd   = 9
	amfStrictArray = 10
	amfDate        = 11
	amfLongString  = 12
	amfUnsupported = 13
	amfXML         = 15
	amfTypedObject = 16
)

// maxAMFDepth bounds recursion: no real message nests deeper than 4.
const maxAMFDepth = 32

var (
	errAMFShort = errors.New("rtmp: AMF0 value ends too early")
	errAMFDeep  = errors.New("rtmp: AMF0 values nest too deep")
)

// Field is the member `name` of a decoded object or ECMA array, nil where there is none.
func Field(value any, name string) any {
	switch v := value.(type) {
	case Object:
		return v[name]
	case ECMAArray:
		return v[name]
	}
	return nil
}

// EncodeAMF0 writes the values one after the other. It takes nil, bool, string, Go's number types,
// time.Time, Object, ECMAArray (and plain map[string]any, as an object) and []any.
func EncodeAMF0(values ...any) ([]byte, error) {
	return AppendAMF0(nil, values...)
}

// AppendAMF0 is EncodeAMF0 into a buffer that the caller has.
func AppendAMF0(out []byte, values ...any) ([]byte, error) {
	var err error
	for _, value := range values {
		if out, err = appendValue(out, value, 0); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func appendValue(out []byte, value any, depth int) ([]byte, error) {
	if depth > maxAMFDepth {
		return nil, errAMFDeep
	}
	switch v := value.(type) {
	case nil:
		return append(out, amfNull), nil
	case float64:
		return appendNumber(out, v), nil
	case float32:
		return appendNumber(out, float64(v)), nil
	case int:
		return appendNumber(out, float64(v)), nil
	case int32:
		return appendNumber(out, float64(v)), nil
	case int64:
		return appendNumber(out, float64(v)), nil
	case uint8:
		return appendNumber(out, float64(v)), nil
	case uint16:
		return appendNumber(out, float64(v)), nil
	case uint32:
		return appendNumber(out, float64(v)), nil
	case uint64:
		return appendNumber(out, float64(v)), nil
	case bool:
		if v {
			return append(out, amfBoolean, 1), nil
		}
		return append(out, amfBoolean, 0), nil
	case string:
		if len(v) > math.MaxUint16 {
			out = binary.BigEndian.AppendUint32(append(out, amfLongString), uint32(len(v)))
		} else {
			out = binary.BigEndian.AppendUint16(append(out, amfString), uint16(len(v)))
		}
		return append(out, v...), nil
	case time.Time:
		out = binary.BigEndian.AppendUint64(append(out, amfDate), math.Float64bits(float64(v.UnixMilli())))
		return append(out, 0, 0), nil // the time zone, which is reserved and 0
	case Object:
		return appendMembers(append(out, amfObject), v, depth)
	case map[string]any:
		return appendMembers(append(out, amfObject), v, depth)
	case ECMAArray:
		out = binary.BigEndian.AppendUint32(append(out, amfECMAArray), uint32(len(v)))
		return appendMembers(out, v, depth)
	case []any:
		out = binary.BigEndian.AppendUint32(append(out, amfStrictArray), uint32(len(v)))
		var err error
		for _, item := range v {
			if out, err = appendValue(out, item, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("rtmp: AMF0 has no value for a %T", value)
}

func appendNumber(out []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(out, amfNumber), math.Float64bits(v))
}

func appendMembers(out []byte, members map[string]any, depth int) ([]byte, error) {
	var err error
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if len(key) > math.MaxUint16 {
			return nil, errors.New("rtmp: AMF0 key is too long")
		}
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(key))), key...)
		if out, err = appendValue(out, members[key], depth+1); err != nil {
			return nil, err
		}
	}
	return append(out, 0, 0, amfObjectEnd), nil
}

// DecodeAMF0 reads all values of data: numbers as float64, dates as time.Time, null and undefined as
// nil, a strict array as []any, objects (typed ones too) as Object and ECMA arrays as ECMAArray.
// After an error it still returns the values before it.
func DecodeAMF0(data []byte) ([]any, error) {
	d := amfDecoder{data: data}
	var values []any
	for len(d.data) > 0 {
		value, err := d.value(0)
		if err != nil {
			return values, err
		}
		values = append(values, value)
	}
	return values, nil
}

// amfDecoder holds what is left to read.
type amfDecoder struct{ data []byte }

func (d *amfDecoder) take(n int) ([]byte, error) {
	if n > len(d.data) {
		return nil, errAMFShort
	}
	taken := d.data[:n]
	d.data = d.data[n:]
	return taken, nil
}

func (d *amfDecoder) uint8() (uint8, error) {
	b, err := d.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (d *amfDecoder) uint32() (uint32, error) {
	b, err := d.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

func (d *amfDecoder) number() (float64, error) {
	b, err := d.take(8)
	if err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

func (d *amfDecoder) shortString() (string, error) {
	b, err := d.take(2)
	if err != nil {
		return "", err
	}
	b, err = d.take(int(binary.BigEndian.Uint16(b)))
	return string(b), err
}

func (d *amfDecoder) longString() (string, error) {
	n, err := d.uint32()
	if err != nil {
		return "", err
	}
	if uint64(n) > uint64(len(d.data)) {
		return "", errAMFShort
	}
	b, err := d.take(int(n))
	return string(b), err
}

func (d *amfDecoder) value(depth int) (any, error) {
	if depth > maxAMFDepth {
		return nil, errAMFDeep
	}
	marker, err := d.uint8()
	if err != nil {
		return nil, err
	}
	switch marker {
	case amfNumber:
		return d.number()
	case amfBoolean:
		b, err := d.uint8()
		return b != 0, err
	case amfString:
		return d.shortString()
	case amfLongString, amfXML:
		return d.longString()
	case amfNull, amfUndefined, amfUnsupported:
		return nil, nil
	case amfObject:
		members, err := d.members(depth)
		return Object(members), err
	case amfTypedObject:
		if _, err := d.shortString(); err != nil { // the name of its class
			return nil, err
		}
		members, err := d.members(depth)
		return Object(members), err
	case amfECMAArray:
		if _, err := d.uint32(); err != nil { // a hint only: many senders write 0
			return nil, err
		}
		members, err := d.members(depth)
		return ECMAArray(members), err
	case amfStrictArray:
		count, err := d.uint32()
		if err != nil {
			return nil, err
		}
		items := []any{} // not made for count items: the count is the peer's word
		for range count {
			item, err := d.value(depth + 1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		return items, nil
	case amfDate:
		ms, err := d.number()
		if err != nil {
			return nil, err
		}
		if _, err := d.take(2); err != nil {
			return nil, err
		}
		return time.UnixMilli(int64(ms)), nil
	case amfReference:
		return nil, errors.New("rtmp: AMF0 references are not supported")
	}
	return nil, fmt.Errorf("rtmp: unknown AMF0 marker %d", marker)
}

func (d *amfDecoder) members(depth int) (map[string]any, error) {
	members := map[string]any{}
	for {
		key, err := d.shortString()
		if err != nil {
			return nil, err
		}
		if key == "" && len(d.data) > 0 && d.data[0] == amfObjectEnd {
			d.data = d.data[1:]
			return members, nil
		}
		if members[key], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
}

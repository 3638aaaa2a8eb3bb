package spooltest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"mailwhy/relay"
)

// equal reports each field in which two messages differ. Times are compared as instants.
func equal(t *testing.T, got, want *relay.Message) {
	t.Helper()
	for _, d := range differences("message", reflect.ValueOf(*got), reflect.ValueOf(*want)) {
		t.Error(d)
	}
}

// differences are the fields in which two values of the same type differ.
func differences(path string, got, want reflect.Value) (ds []string) {
	if g, ok := got.Interface().(time.Time); ok {
		if w := want.Interface().(time.Time); !g.Equal(w) {
			ds = append(ds, fmt.Sprintf("%s is %v, want %v", path, g, w))
		}
		return ds
	}
	switch got.Kind() {
	case reflect.Struct:
		for i := range got.NumField() {
			ds = append(ds, differences(path+"."+got.Type().Field(i).Name, got.Field(i), want.Field(i))...)
		}
		return ds
	case reflect.Slice:
		if got.Len() == want.Len() {
			for i := range got.Len() {
				ds = append(ds, differences(fmt.Sprintf("%s[%d]", path, i), got.Index(i), want.Index(i))...)
			}
			return ds
		}
	case reflect.Pointer:
		if !got.IsNil() && !want.IsNil() {
			return differences(path, got.Elem(), want.Elem())
		}
	}
	if !reflect.DeepEqual(got.Interface(), want.Interface()) {
		ds = append(ds, fmt.Sprintf("%s is %#v, want %#v", path, got.Interface(), want.Interface()))
	}
	return ds
}

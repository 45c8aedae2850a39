package conformance

import (
	"net/http"
	"strings"
	"testing"
)

// Case is an event of the JSON format.
type Case struct {
	// Event in the format.
	Event string
	// Valid events are taken.
	Valid bool
}

// Post sends the event, and reports whether it was taken: the answer is 2xx, or 400.
func (c Case) Post(t *testing.T, to string) (taken bool) {
	t.Helper()
	resp, err := http.Post(to, "application/cloudevents+json", strings.NewReader(c.Event))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if taken = resp.StatusCode/100 == 2; !taken && resp.StatusCode != http.StatusBadRequest {
		t.Errorf("want 2xx or 400, got %d", resp.StatusCode)
	}
	return taken
}

// Cases are those of the suite's list for the JSON format (format/json), by their ids there.
func Cases() map[string]Case {
	with := func(members string) string {
		required := `"specversion": "1.0", "id": "1", "type": "t", "source": "https://example.com"`
		for name := range strings.FieldsSeq("specversion id type source") {
			if strings.Contains(members, `"`+name+`":`) {
				before, after, _ := strings.Cut(required, `"`+name+`"`)
				_, after, _ = strings.Cut(after, ", ")
				required = strings.TrimSuffix(before+after, ", ")
			}
		}
		if members == "" {
			return "{" + required + "}"
		}
		return "{" + required + ", " + members + "}"
	}
	without := func(name string) string {
		return strings.Replace(with(`"`+name+`": 0`), `, "`+name+`": 0`, "", 1)
	}
	cases := map[string]Case{}
	for id, members := range map[string]string{
		"validMinimal":                            ``,
		"validMinimalWithNullForOptional":         `"datacontenttype": null, "dataschema": null, "subject": null, "time": null`,
		"validAllCoreAttributes":                  `"datacontenttype": "text/plain", "dataschema": "https://example.com/schema", "subject": "s", "time": "2024-01-02T03:04:05Z"`,
		"validMinimalWithTimeUtc":                 `"time": "2024-01-02T03:04:05Z"`,
		"validMinimalWithTimeToNanosecondsUtc":    `"time": "2024-01-02T03:04:05.000000000Z"`,
		"validMinimalWithTimeUsingPositiveOffset": `"time": "2024-01-02T04:04:05+01:00"`,
		"validMinimalWithTimeUsingNegativeOffset": `"time": "2024-01-02T02:04:05-01:00"`,
		"validRelativeSource":                     `"source": "#fragment"`,
		"validSimpleTextData":                     `"datacontenttype": "text/plain", "data": "text"`,
		"validAllExtensionTypes":                  `"i": 10, "b": true, "s": "text", "u": "https://example.com", "r": "//a/p", "t": "2024-01-02T03:04:05Z", "x": "TWE="`,
	} {
		cases[id] = Case{with(members), true}
	}
	for id, members := range map[string]string{
		"invalidTimeGarbage":               `"time": "lunchtime"`,
		"invalidTimeToMinute":              `"time": "2024-01-02T03:04Z"`,
		"invalidTimeOffsetX":               `"time": "2024-01-02T03:04:05X"`,
		"invalidTimeOffsetOutOfRange":      `"time": "2024-01-02T03:04:05+25:00"`,
		"invalidTimeOffsetNonInteger":      `"time": "2024-01-02T03:04:05+xx:00"`,
		"invalidTimeOffsetHourOnly":        `"time": "2024-01-02T03:04:05+05"`,
		"invalidEmptyId":                   `"id": ""`,
		"invalidEmptyType":                 `"type": ""`,
		"invalidEmptySource":               `"source": ""`,
		"invalidEmptySpecVersion":          `"specversion": ""`,
		"invalidUnknownSpecVersion":        `"specversion": "0.9"`,
		"invalidNonRfc2046DataContentType": `"datacontenttype": "xyz"`,
		"invalidEmptyDataContentType":      `"datacontenttype": ""`,
		"invalidEmptyDataSchema":           `"dataschema": ""`,
		"invalidEmptySubject":              `"subject": ""`,
		"invalidNumericId":                 `"id": 25`,
		"invalidObjectId":                  `"id": {"a": "b"}`,
		"invalidCapitalizedExtension":      `"MyExtension": "bad"`,
		"invalidPunctuatedExtension":       `"my.extension": "bad"`,
		"invalidNonIntegerExtensionValue":  `"my.extension": 1.5`,
		"invalidBothDataAndDataBase64":     `"data": "text", "data_base64": "YQ=="`,
	} {
		cases[id] = Case{with(members), false}
	}
	for id, name := range map[string]string{"invalidNoSpecVersion": "specversion", "invalidNoId": "id", "invalidNoType": "type", "invalidNoSource": "source"} {
		cases[id] = Case{without(name), false}
	}
	return cases
}

package deploytest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const chartDir = "../chart/mailwhy"

// render is what `helm template` prints, by file.
func render(c *chart.Chart, values map[string]any) (map[string]string, error) {
	release := chartutil.ReleaseOptions{Name: "shop", Namespace: "mail", IsInstall: true}
	v, err := chartutil.ToRenderValues(c, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return (&engine.Engine{Strict: true}).Render(c, v)
}

// load reads the chart, whose Chart.yaml has to be valid.
func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

// objects renders the chart with values and decodes all of it.
func objects(t *testing.T, values string) []any {
	t.Helper()
	v, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	out, err := render(load(t), v)
	if err != nil {
		t.Fatal(err)
	}
	var all []any
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		some, err := decode(out[name])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		all = append(all, some...)
	}
	return all
}

// find is the object of a type.
func find[T any](all []any) (found []T) {
	for _, o := range all {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// TestChart: with each file of values the chart makes manifests that Kubernetes takes.
func TestChart(t *testing.T) {
	files, _ := filepath.Glob(chartDir + "/ci/*.yaml")
	values := map[string]string{"no values": ""}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		values[filepath.Base(f)] = string(text)
	}
	if len(values) < 4 {
		t.Fatalf("only %d files of values", len(values))
	}
	for name, text := range values {
		selector, pod, claims := replicas(t, objects(t, text))
		soundPod(t, name, &pod)
		volumes := map[string]bool{}
		for _, v := range pod.Spec.Volumes {
			volumes[v.Name] = true
		}
		for _, claim := range claims {
			volumes[claim.Name] = true
		}
		for _, m := range relayOf(t, &pod).VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: no volume %s for %s", name, m.Name, m.MountPath)
			}
		}
		for key, value := range selector.MatchLabels {
			if pod.Labels[key] != value {
				t.Errorf("%s: the set does not select its pods: %s", name, key)
			}
		}
	}
}

// replicas are the one set or deployment of a chart.
func replicas(t *testing.T, all []any) (*metav1.LabelSelector, corev1.PodTemplateSpec,
	[]corev1.PersistentVolumeClaim) {
	t.Helper()
	sets, deployments := find[*appsv1.StatefulSet](all), find[*appsv1.Deployment](all)
	switch {
	case len(sets) == 1 && len(deployments) == 0:
		spec := sets[0].Spec
		return spec.Selector, spec.Template, spec.VolumeClaimTemplates
	case len(sets) == 0 && len(deployments) == 1:
		spec := deployments[0].Spec
		return spec.Selector, spec.Template, nil
	}
	t.Fatalf("%d sets, %d deployments", len(sets), len(deployments))
	return nil, corev1.PodTemplateSpec{}, nil
}

// TestChartCluster: relays with one queue are a deployment without volumes, and read the database's URL from
// the secret.
func TestChartCluster(t *testing.T) {
	const some = "replicaCount: 3\nexistingSecret: s\n"
	const url = "/run/secrets/mailwhy/"
	for values, want := range map[string]struct {
		engine, url, cluster string
		disk                 bool
	}{
		some + "cluster: {queue: true}":                 {"postgres", url + "database", "", false},
		some + "cluster: {limits: true, urlKey: pg}":    {"", "", url + "pg", true},
		some + "cluster: {queue: true, limits: true}":   {"postgres", url + "database", "", false},
		some + "cluster: {queue: false, limits: false}": {"", "", "", true},
	} {
		all := objects(t, values)
		_, pod, claims := replicas(t, all)
		env := map[string]string{}
		for _, e := range relayOf(t, &pod).Env {
			env[e.Name] = e.Value
		}
		if env["MAILWHY_SPOOL_ENGINE"] != want.engine || env["MAILWHY_SPOOL_URL_FILE"] != want.url ||
			env["MAILWHY_CLUSTER_URL_FILE"] != want.cluster {
			t.Errorf("%s: environment %v", values, env)
		}
		if (len(claims) > 0) != want.disk || want.disk != (len(find[*appsv1.StatefulSet](all)) == 1) {
			t.Errorf("%s: %d claims", values, len(claims))
		}
	}
}

// TestChartEverything: each part is there when it is asked for.
func TestChartEverything(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/ci/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, string(text))
	rules, monitors := find[*prometheusRule](all), find[*serviceMonitor](all)
	if len(rules) != 1 || len(monitors) != 1 || len(find[*corev1.Secret](all)) != 1 {
		t.Fatalf("%d rules, %d monitors", len(rules), len(monitors))
	}
	want := readRules(t)
	if len(rules[0].Spec.Groups[0].Rules) != len(want.Groups[0].Rules) {
		t.Error("the chart's alerts are not those of the file")
	}
	url := rules[0].Spec.Groups[0].Rules[0].Annotations["runbook_url"]
	if !strings.HasPrefix(url, "https://wiki.example.com/mailwhy#") {
		t.Errorf("runbook_url %s", url)
	}
	checksums := func(values string) string {
		a := find[*appsv1.StatefulSet](objects(t, values))[0].Spec.Template.Annotations
		return a["checksum/config"] + a["checksum/secret"]
	}
	base := checksums("")
	for _, change := range []string{"config: {relay: x}", "secret: {a: b}", "config: {general: {TZ: UTC}}"} {
		if checksums(change) == base {
			t.Errorf("%s does not start the pods again", change)
		}
	}
}

// TestChartRefuses: the schema and the chart refuse what cannot work.
func TestChartRefuses(t *testing.T) {
	for values, want := range map[string]string{
		"cluster: {queue: true}": "secret",
		"existingSecret: s\nmountSecret: {enabled: false}\ncluster: {limits: true}": "mountSecret",
		"replicas: 2":                                              "replicas",
		"replicaCount: two":                                        "replicaCount",
		"service: {port: 0}":                                       "port",
		"config: {general: {UPSTREAM: x}}":                         "UPSTREAM",
		"persistence: {accessModes: [ReadOnlyMany]}":               "accessModes",
		"terminationGracePeriodSeconds: 1":                         "terminationGracePeriodSeconds",
		"replicaCount: 2\npersistence: {existingClaim: old-spool}": "set replicaCount to 1",
	} {
		var v map[string]any
		if err := yaml.Unmarshal([]byte(values), &v); err != nil {
			t.Fatal(err)
		}
		if _, err := render(load(t), v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", values, err)
		}
	}
}

// TestChartSidecar: another chart takes the relay into its own pods.
func TestChartSidecar(t *testing.T) {
	parent := &chart.Chart{
		Metadata: &chart.Metadata{APIVersion: "v2", Name: "shop", Version: "1.0.0"},
		Templates: []*chart.File{{Name: "templates/pod.yaml", Data: []byte(`apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {}
  template:
    spec:
      terminationGracePeriodSeconds: 40
      initContainers:
        {{- include "mailwhy.sidecar" .Subcharts.mailwhy | nindent 8 }}
      containers: [{name: shop, image: shop}]
      volumes:
        {{- include "mailwhy.volumes" .Subcharts.mailwhy | nindent 8 }}
        - {name: spool, emptyDir: {}}
`)}},
	}
	parent.AddDependency(load(t))
	out, err := render(parent, map[string]any{"mailwhy": map[string]any{"existingSecret": "mail"}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := decode(out["shop/templates/pod.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	pod := podOf(all[0])
	soundPod(t, "sidecar", pod)
	c := relayOf(t, pod)
	if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Errorf("restartPolicy is %v", c.RestartPolicy)
	}
	if c.Env[0].Value != "127.0.0.1:2525" {
		t.Errorf("it listens at %s", c.Env[0].Value)
	}
}

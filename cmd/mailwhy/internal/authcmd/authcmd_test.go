package authcmd

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"mailwhy/config"
	"mailwhy/relay/smtptest/oauthtest"
)

// TestMain lets the scripts run the command in a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"auth": func() {
		root := &cobra.Command{Use: "mailwhy", SilenceUsage: true}
		root.AddCommand(New(Options{Usage: func(err error) error { return err }, Load: load}))
		if root.Execute() != nil {
			os.Exit(1)
		}
	}})
}

// load reads the configuration as the program does.
func load(file string) (*config.Config, error) {
	return config.Load(config.Source{File: file, Env: os.Environ(), Local: true})
}

// TestScripts runs testdata/*.txtar against a scripted token endpoint, whose secrets are marked.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			s := oauthtest.Start(t, oauthtest.Options{ClientID: "client", Rotate: true, Interval: 1})
			e.Values["server"] = s
			e.Setenv("URL", s.URL(""))
			secret := oauthtest.Start(t, oauthtest.Options{ClientID: "app", Secret: "marked-secret"})
			e.Setenv("SECRET_URL", secret.URL(""))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"revoke": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Value("server").(*oauthtest.Server).RevokeRefresh()
			},
		},
	})
}

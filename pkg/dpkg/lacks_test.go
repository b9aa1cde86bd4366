package dpkg

import "testing"

// What apt 2.6 says.
func TestUnmet(t *testing.T) {
	for name, c := range map[string]struct{ said, want string }{
		"well": {"Reading package lists...\nThe following NEW packages will be installed:\n  arasul\nInst arasul (1.1.0 local-deb [amd64])\nConf arasul (1.1.0 local-deb [amd64])\n", ""},
		"one":  {"\nThe following packages have unmet dependencies:\n arasul : Depends: nosuch (>= 1) but it is not installable\nE: Unable to correct problems, you have held broken packages.\n", "Depends: nosuch (>= 1) but it is not installable"},
		"several": {"The following packages have unmet dependencies:\n arasul : Depends: sl but it is not installable\n          Depends: libc6 (>= 99) but 2.36-9+deb12u14 is to be installed\nE: Unable to correct problems\n",
			"Depends: sl but it is not installable; Depends: libc6 (>= 99) but 2.36-9+deb12u14 is to be installed"},
		"of others":          {"The following packages have unmet dependencies:\n other : Depends: sl but it is not installable\n         Depends: cowsay but it is not installable\n arasul:arm64 : Conflicts: bash but 5.2 is to be installed\n third : Depends: sl but it is not installable\n", "Conflicts: bash but 5.2 is to be installed"},
		"another in the way": {"The following packages will be REMOVED:\n  docker.io\nRemv docker.io [20.10] \nInst arasul (1.1.0 local-deb [amd64])\n", "docker.io would have to go"},
	} {
		if got := unmet(c.said); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

-- System > Last Crash for LuCI releases that still read Lua menus.  The same fields as in
-- menu.d/luci-app-lastlog.json, since where both are read this one wins.
module("luci.controller.lastlog", package.seeall)

function index()
	-- A controller that throws takes every page of LuCI with it: a release without view() loses
	-- this one only.
	pcall(function()
		local page = entry({ "admin", "system", "lastlog" }, view("system/lastlog"), _("Last Crash"), 91)
		page.acl_depends = { "luci-app-lastlog" }
	end)
end

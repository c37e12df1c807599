/*
 * A small stand-in for LuCI's client API, for the preview on a PC: as much as the view uses, with
 * the semantics of LuCI's luci.js, rpc.js, ui.js. A string as content is HTML, an array is nodes
 * and text; undefined parameters are not sent; `reject` turns a ubus status into an exception.
 */
(function() {
	'use strict';

	const dom = {
		elem: (thing) => thing instanceof Node,

		append(node, children) {
			if (Array.isArray(children))
				for (const child of children.filter((each) => each != null))
					node.append(dom.elem(child) ? child : String(child));
			else if (dom.elem(children))
				node.append(children);
			else if (children != null)
				node.innerHTML = String(children);
			return node.lastChild;
		},

		content(node, children) {
			node.replaceChildren();
			return dom.append(node, children);
		},
	};

	function attribute(node, name, value) {
		if (typeof value == 'function')
			node.addEventListener(name, value);
		else if (value != null)
			node.setAttribute(name, value);
	}

	window._ = (text) => text;
	window.N_ = (count, one, many) => count == 1 ? one : many;

	window.E = function(tag, attributes, children) {
		if (Array.isArray(tag)) {
			const fragment = document.createDocumentFragment();
			dom.append(fragment, tag);
			return fragment;
		}
		const node = document.createElement(tag);
		if (attributes === null || typeof attributes != 'object' || Array.isArray(attributes))
			[ attributes, children ] = [ {}, attributes ];
		for (const name in attributes)
			attribute(node, name, attributes[name]);
		dom.append(node, children);
		return node;
	};

	String.prototype.format = function(...values) {
		return this.replace(/%([sd%])/g, (all, kind) => kind == '%' ? '%' : String(values.shift()));
	};

	let serial = 1;

	async function call(declared, values) {
		const names = declared.params ?? [];
		const params = Object.fromEntries(names.map((name, index) => [ name, values[index] ]));
		const response = await fetch(`/ubus?${Date.now()}`, {
			method: 'POST',
			headers: { 'Content-Type': 'application/json' },
			body: JSON.stringify({
				jsonrpc: '2.0', id: serial++, method: 'call',
				params: [ PREVIEW.sessionid, declared.object, declared.method, params ],
			}),
		});
		const where = `RPC call to ${declared.object}/${declared.method} failed with`;
		if (!response.ok)
			throw new Error(`${where} HTTP error ${response.status}`);
		const message = await response.json();
		if (message.error)
			throw new Error(`${where} error ${message.error.code}: ${message.error.message}`);
		const [ status, reply ] = message.result;
		if (declared.reject && status !== 0)
			throw new Error(`${where} ubus code ${status}`);
		return message.result.length > 1 ? reply : status;
	}

	const rpc = { declare: (declared) => (...values) => call(declared, values) };

	const ui = {
		showModal(title, children, ...classes) {
			const box = document.querySelector('#modal_overlay > .modal');
			box.className = [ 'modal', ...classes ].join(' ');
			dom.content(box, E('h4', {}, title));
			dom.append(box, children);
			document.body.classList.add('modal-overlay-active');
			return box;
		},

		hideModal() {
			document.body.classList.remove('modal-overlay-active');
		},

		addNotification(title, children, ...classes) {
			const close = E('button', { 'class': 'btn', 'click': () => box.remove() }, [ _('Dismiss') ]);
			const text = E('div', {}, title != null ? [ E('h4', {}, title) ] : []);
			const box = E('div', { 'class': [ 'alert-message', ...classes ].join(' ') }, [ text, close ]);
			dom.append(text, children);
			document.getElementById('maincontent').prepend(box);
			return box;
		},

		createHandlerFn(context, handler, ...bound) {
			const run = typeof handler == 'string' ? context[handler] : handler;
			return (event) => {
				const target = event.currentTarget;
				target.classList.add('spinning');
				target.disabled = true;
				return Promise.resolve(run.call(context, ...bound, event)).finally(() => {
					target.classList.remove('spinning');
					target.disabled = false;
				});
			};
		},
	};

	const poll = {
		add(task, seconds) {
			task();
			window.setInterval(task, seconds * 1000);
			return true;
		},
	};

	const L = { hasViewPermission: () => !PREVIEW.readonly };

	const view = {
		extend(members) {
			return async function() {
				const place = document.getElementById('view');
				const self = Object.create(members);
				try {
					dom.content(place, await self.render(await self.load()));
				}
				catch (error) {
					ui.addNotification(null, E('p', {}, [ error.message ]), 'error');
				}
			};
		},
	};

	/* A view file is the body of a function whose directives name what it is called with. */
	async function load(url) {
		const source = await (await fetch(url)).text();
		const offered = { view, rpc, ui, poll, dom };
		const names = [ ...source.matchAll(/^'require (\w+)';$/gm) ].map((match) => match[1]);
		const factory = new Function('window', 'document', 'L', ...names, source);
		factory(window, document, L, ...names.map((name) => offered[name]))();
	}

	window.L = L;
	load('/luci-static/resources/view/system/lastlog.js');
})();

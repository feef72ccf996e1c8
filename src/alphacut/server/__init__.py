"""The HTTP service: remove.bg's and rembg's contracts over one pool of workers.

`app.create_app` makes the application, `run.serve` runs it.
"""

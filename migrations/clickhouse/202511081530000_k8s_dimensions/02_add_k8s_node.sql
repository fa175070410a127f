-- unless: column expenses.k8s_node
ALTER TABLE expenses ADD COLUMN k8s_node Nullable(String)
